"""The image as people and clouds run it: no network, read-only root, no capability, no new privileges."""

from __future__ import annotations

import json

import pexpect
import pytest
from boxes import IMAGE, engine, terminal, well

HEALTH = ("/opt/envs/core/bin/python", "-I", "/opt/appliance/healthcheck.py")
MENU = "Download a model"


def leave(menu: pexpect.spawn) -> int | None:
    """Choose Quit; the exit code."""
    menu.send("q\r")
    menu.expect(pexpect.EOF)
    menu.close()
    return menu.exitstatus


# --- what it is ------------------------------------------------------------------------------------------------------


def test_a_numeric_user_one_volume_and_a_health_check():
    config = json.loads(well(engine("image", "inspect", IMAGE)))[0]
    described = config["Config"]
    assert described["User"] == "10001:10001"
    assert set(described["Volumes"]) == {"/data"}
    health = described.get("Healthcheck") or config.get("Healthcheck") or config.get("HealthCheck")
    assert "healthcheck.py" in json.dumps(health)


def test_nothing_outside_data_can_be_written_even_without_a_read_only_root():
    # /data and what the kernel mounts are other file systems; folders like /tmp have the sticky bit.
    find = "find / -xdev -writable -not -type l -not -perm -1000 2>/dev/null"
    done = engine("run", "--rm", IMAGE, "/bin/sh", "-c", find)
    assert done.stdout.split() == []


# --- commands and their exit codes -----------------------------------------------------------------------------------


def test_probe_answers_one_json_object(box):
    found = json.loads(well(box().run("probe", "--json")))
    assert found["cpu"]["cores"] >= 1
    assert found["accelerators"] == []


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("probe",), 0, ""),
        (("no-such-word",), 2, "no-such-word"),
        ((), 2, "-it"),
        (("run", "missing.yaml"), 2, "missing.yaml"),
        (("merge", "/nowhere"), 1, "/nowhere"),
    ],
)
def test_exit_codes(box, command, code, said):
    done = box().run(*command)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_sum_of_a_merge_is_compiled(box):
    load = "import ctypes\nfrom appliance.merging.compiled import LIBRARY\nctypes.CDLL(str(LIBRARY)).add_low_rank"
    well(box().run("/opt/envs/core/bin/python", "-c", load))


def test_any_user_can_work_in_a_new_volume(box):
    done = box(None, "--user", "1234").run(
        "/bin/sh", "-c", "touch /data/file && echo $HOME && appliance jobs list --json"
    )
    home, answer = well(done).splitlines()
    assert home == "/data"
    assert json.loads(answer) == {"jobs": []}


def test_a_folder_of_someone_else_is_told_in_both_languages_and_probe_still_answers(box, tmp_path):
    tmp_path.chmod(0o755)
    done = box(str(tmp_path)).run("probe", "--json")
    assert json.loads(well(done))["cpu"]
    assert "sudo chown -R 10001:10001" in done.stderr
    assert "不能写入 /data" in done.stderr


# --- the menu --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), ("/root/yichuidingyin.sh",)])
def test_the_menu_opens_and_closes(box, command):
    menu = box().type(*command)
    menu.expect(MENU)
    assert leave(menu) == 0


def test_the_menu_in_chinese(box):
    menu = box(None, "-e", "APPLIANCE_LANG=zh").type()
    menu.expect("下载模型")
    assert leave(menu) == 0


def test_a_second_menu_comes_and_goes_and_sigterm_ends_the_first(box):
    first = box()
    menu = first.type()
    menu.expect(MENU)
    second = terminal("exec", "-it", first.name, "/root/yichuidingyin.sh")
    second.expect(MENU)
    assert leave(second) == 0
    assert first.stop() == 143
    menu.expect(pexpect.EOF)


# --- the work --------------------------------------------------------------------------------------------------------


def test_the_demo_teaches_without_any_network(demo):
    assert demo["learned"] is True
    assert demo["before"] != demo["after"]


def test_a_recipe_runs_without_a_question(box, volume, demo):
    recipe = "jobs:\n  - finetune: {model: demo-base, data: datasets/demo.csv, steps: 2}\n  - merge: {}\n"
    well(box(volume).run("/bin/sh", "-c", "cat >/data/recipe.yaml", stdin=recipe))
    answer = json.loads(well(box(volume).run("run", "recipe.yaml", "--json", timeout=200)))
    assert [job["state"] for job in answer["jobs"]] == ["done", "done"]


def test_sigterm_ends_a_training_and_a_server_with_their_states_saved(box, volume, demo):
    """As another user, one that the image has never heard of."""
    well(engine("run", "--rm", "--user", "0", "-v", f"{volume}:/data", IMAGE, "/bin/chown", "-R", "4321:4321", "/data"))
    one = box(volume, "--user", "4321:4321")
    one.start("finetune", "--model", "demo-base", "--data", "datasets/demo.csv", "--steps", "1000000", "--json")
    one.wait_for(lambda: one.execute("appliance", "jobs", "list", "--json").returncode == 0)
    one.wait_for(lambda: "finetune" in [job["kind"] for job in running(one)])
    training = one.answer("jobs", "show", "last")["folder"]
    one.wait_for(lambda: '"loss"' in one.execute("/bin/cat", f"{training}/events.jsonl").stdout)
    served = one.answer("serve", demo["folder"], "--page", "--detach")
    assert served["address"].endswith("/v1") and served["page"]
    assert one.execute(*HEALTH).returncode == 0
    assert sorted(job["kind"] for job in running(one)) == ["finetune", "serve"]

    assert one.stop() == 143

    jobs = json.loads(well(box(volume).run("jobs", "list", "--json")))["jobs"]
    ended = {job["kind"]: job["state"] for job in jobs if job["id"] in (served["id"], training.rpartition("/")[2])}
    assert ended == {"finetune": "stopped", "serve": "stopped"}
    assert well(box(volume).run("/bin/sh", "-c", f"ls -d {training}/checkpoint*"))


def test_the_health_check_sees_a_server_that_hangs(box, volume, demo):
    well(
        engine("run", "--rm", "--user", "0", "-v", f"{volume}:/data", IMAGE, "/bin/chown", "-R", "10001:10001", "/data")
    )
    one = box(volume)
    one.start("serve", demo["folder"])
    one.wait_for(lambda: any(job["phase"] == "ready" for job in running(one)))
    assert one.execute(*HEALTH).returncode == 0
    folder = running(one)[0]["folder"]
    pid = json.loads(well(one.execute("/bin/cat", f"{folder}/state.json")))["pid"]
    freeze = f"import psutil\nfor one in psutil.Process({pid}).children(recursive=True): one.suspend()"
    well(one.execute("/opt/envs/core/bin/python", "-c", freeze))
    sick = one.execute(*HEALTH)
    assert sick.returncode == 1
    assert folder.rpartition("/")[2] in sick.stdout


def running(one):
    return [job for job in one.answer("jobs", "list")["jobs"] if job["state"] == "running"]
