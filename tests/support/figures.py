"""What a metrics file says, as Prometheus' own parser reads it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


class Read:
    """What a file says."""

    def __init__(self, path: Path) -> None:
        families = list(text_string_to_metric_families(path.read_text()))
        self.kinds = {family.name: family.type for family in families}
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples with these labels, None if there is none."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    @property
    def outcome(self) -> str:
        """The one that the run has."""
        (found,) = (
            sample.labels["outcome"]
            for sample in self.samples
            if sample.name == "pipecopy_run_outcome" and sample.value
        )
        return found
