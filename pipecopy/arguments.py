"""What is wrong with the arguments of a run, said by their names."""

from __future__ import annotations


def bad_ids(from_id: object, to_id: object) -> list[str]:
    """Say what is wrong with the two ends of a range of ids."""
    bad = [
        f"{name} must be an int of at least 0, not {value!r}"
        for name, value in (("from_id", from_id), ("to_id", 0 if to_id is None else to_id))
        if isinstance(value, bool) or not isinstance(value, int) or value < 0
    ]
    if not bad and isinstance(from_id, int) and isinstance(to_id, int) and from_id > to_id:
        bad.append(f"from_id, {from_id}, is above to_id, {to_id}")
    return bad


def bad_resume(*, resume: bool, where: object) -> list[str]:
    """Say what is wrong with resuming a copy of chosen rows."""
    if resume and where is not None:
        return ["resume does not go with where: the rows that it left out would stay so"]
    return []
