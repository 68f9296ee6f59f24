"""A pool of classes in modules that no import path leads to, as plugins and loaders have them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.drivers import RecordingPool
from tests.support.scripts import SQLITE, run_script

# What is imported when is a plugin's own affair: as Airflow's and Celery's loaders do it.
MODULE = SQLITE.replace("class Pool:", "from plugin_base import Base\nclass Pool(Base):") + (
    '\ndef go():\n    print(copy_table(config, Pool(), "source.sqlite", "target.sqlite").rows)\n'
)
AT_ONCE = 'if __name__ == "__main__":'
FROM_PATH = f"""
import sys
{AT_ONCE}
    sys.path.insert(0, {{path!r}})
    import plugin
    sys.path.remove({{path!r}})
    plugin.go()
"""
BY_FILE = f"""
import importlib.util, sys
{AT_ONCE}
    sys.path.insert(0, {{path!r}})
    spec = importlib.util.spec_from_file_location("prefix_0af_plugin", {{path!r}} + "/plugin.py")
    plugin = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    sys.path.remove({{path!r}})
    plugin.go()
"""
NAMESPACE = FROM_PATH.replace("import plugin", "import space.plugin as plugin")


def _last_line(stderr: str) -> str:
    assert stderr.count("Traceback (most") == 1, stderr
    return stderr.splitlines()[-1]


@pytest.mark.parametrize("loader", [FROM_PATH, BY_FILE, NAMESPACE], ids=["path", "file", "space"])
@pytest.mark.parametrize("kind", ["folder", "archive", "package", "shadowed"])
def test_a_module_off_the_path(
    sqlite_pool: RecordingPool, tmp_path: Path, loader: str, kind: str
) -> None:
    if (kind, loader) in {("archive", BY_FILE), ("package", BY_FILE)}:
        pytest.skip("a loader of files takes files")
    sqlite_pool.create(range(1, 26))
    inner = "space/" if loader == NAMESPACE else ""
    inner += "plugin/__init__.py" if kind == "package" else "plugin.py"
    files = {inner: MODULE, "plugin_base.py": "class Base: pass"}
    folder = tmp_path / "plugins"
    if kind == "archive":
        with zipfile.ZipFile(folder, "w") as archive:
            archive.mkdir("space")
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    if kind == "shadowed":  # the script's own folder is on the path
        (tmp_path / "plugin.py").write_text("raise ImportError('this is another one')")
    ended = run_script(tmp_path, loader.format(path=str(folder)))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "25\n", "")
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


MADE = f"""
import sys, types
{SQLITE}
{AT_ONCE}
    plugin = sys.modules["made_here"] = types.ModuleType("made_here")
    plugin.Pool, Pool.__module__ = Pool, "made_here"
    copy_table(config, Pool(), "source.sqlite", "target.sqlite")
"""
RAISES = f"{AT_ONCE}\n    import raises\n    raises.go()"
UNGUARDED = "import unguarded"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (MADE, "the pool needs the module 'made_here', which a worker process can't find: put the"),
        (RAISES, "the pool needs the module 'raises', which raised in a worker: RuntimeError: no"),
        (UNGUARDED, 'the script that starts this copy has no `if __name__ == "__main__":` guard:'),
    ],
    ids=["made", "raises", "unguarded"],
)
def test_a_module_that_a_worker_can_not_import_is_named(
    sqlite_pool: RecordingPool, tmp_path: Path, script: str, said: str
) -> None:
    sqlite_pool.create(range(1, 26))
    (tmp_path / "plugin_base.py").write_text("class Base: pass")
    (tmp_path / "unguarded.py").write_text(f"{MODULE}\ngo()")
    (tmp_path / "raises.py").write_text(
        f"import sys\n{MODULE}\nif sys.modules['__main__'].__name__ == '__mp_main__':\n"
        "    raise RuntimeError('not in a worker')\n"
    )
    ended = run_script(tmp_path, script)
    assert ended.returncode == 1
    assert _last_line(ended.stderr).startswith(f"pipecopy.errors.ConfigError: {said}")
    assert sqlite_pool.rows("target") == []


def test_an_exit_code_in_close_is_the_drivers_own(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 26))
    exits = SQLITE.replace("self.db.close()", "self.db.close(); import os; os._exit(213)")
    copies = f'{AT_ONCE}\n    print(copy_table(config, Pool(), "source.sqlite", "target.sqlite"))'
    ended = run_script(tmp_path, exits, copies)
    assert ended.returncode == 0, ended.stderr
    assert "outcome='complete'" in ended.stdout
    assert "exited with code 213" in ended.stdout
