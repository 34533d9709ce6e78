"""Fault runs: kills at each step, and sequences of deeds with faults drawn from a seed. Each returns what it did."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.stage import IMAGES, Job, Stage
from tests.proxy import Fault, Proxy

HELD = 30
# The seven steps of a publish and the five of a save; each is held by its request, or by a table nobody may write.
PUBLISH_STEPS = ("freeze", "put dice", "put coco", "put yolo", "list", "platform put", "record sync")
# Steps that are a row of the version being written, and words of the statement that does it.
RECORDED = {"list": "UPDATE annotation_versions v SET status", "record sync": 'UPDATE "annotation_versions"'}
SAVE_STEPS = ("put retained", "put retained metadata", "copy to latest", "put metadata", "record save")


@dataclass
class Run:
    """What a run did: its fault, whether that struck a step in flight, and how long it took to heal."""

    fault: str
    struck: bool
    healed: float
    retries: int = 0
    log: list[str] = field(default_factory=list)


class NotStruck(AssertionError):
    """The fault met nothing in flight; such a run does not count."""


# Kills ----------------------------------------------------------------------------------------


def kill_in_publish(stage: Stage, job: Job, step: str, *, whole: bool) -> Run:
    """Kill whoever works on a publish at one of its steps: a child, or the ``whole`` program and its children."""
    job.draw(1, random.Random(step).randrange(200))
    job.confirm(1)
    if step == "freeze":
        return _kill_in_freeze(stage, job, whole=whole)
    proxy, path = _place(stage, job, step)
    fault = proxy.strike("hold", "PUT", path)
    number = job.publish()
    _await(fault, step)
    if step in RECORDED:
        _kill_at_row(stage, fault, "annotation_versions", RECORDED[step], whole=whole)
    else:
        job.watch()
        _kill(stage, "worker", whole=whole)
        fault.release.set()
    return _healed(stage, job, f"kill at {step}", f"{number}: {fault.struck[0][1:]}")


def _place(stage: Stage, job: Job, step: str) -> tuple[Proxy, str]:
    of_version = rf"exports/{job.id}/v\d+\.0/"
    return {
        "put dice": (stage.labeler, of_version + "annotations_dice"),
        "put coco": (stage.labeler, of_version + "annotations_coco"),
        "put yolo": (stage.labeler, of_version + "annotations_yolo"),
        "list": (stage.labeler, of_version + "manifest"),
        "platform put": (stage.platform, rf"datasets/{job.dataset}/annotations\.json"),
        "record sync": (stage.platform, rf"datasets/{job.dataset}/annotations\.json"),
    }[step]


def _await(fault: Fault, step: str) -> None:
    if not fault.held.wait(HELD):
        raise NotStruck(f"nothing came to {step} within {HELD} s")


def _kill_at_row(stage: Stage, fault: Fault, table: str, words: str, *, whole: bool) -> None:
    """Let the held request through, and kill when the row that would record it waits for the table."""
    with stage.locked(table):
        fault.release.set()
        _kill_waiting(stage, "worker", words, whole=whole)


def _kill_waiting(stage: Stage, program: str, words: str, *, whole: bool) -> None:
    until = time.monotonic() + HELD
    while not (pids := stage.waiting(words)):
        if time.monotonic() > until:
            raise NotStruck(f"nothing waits to do {words}")
        time.sleep(0.05)
    _kill(stage, program, whole=whole)
    stage.end_sessions(pids)


def _kill(stage: Stage, program: str, *, whole: bool) -> None:
    if whole:
        stage.system.kill(program)
        stage.restart(program)
    else:
        stage.kill_children(program)


def _kill_in_freeze(stage: Stage, job: Job, *, whole: bool) -> Run:
    """The web process dies in the freeze; the client asks again with its key and gets one version."""
    got: list[str] = []
    with stage.locked("frozen_annotations"):
        asking = threading.Thread(target=lambda: got.append(job.publish()), daemon=True)
        asking.start()
        _kill_waiting(stage, "web", "INSERT INTO frozen_annotations", whole=whole)
    asking.join(90)
    assert got, f"the publish was never answered\n{stage.system.logs()}"
    return _healed(stage, job, "kill at freeze", got[0])


def kill_in_save(stage: Stage, job: Job, step: str, *, whole: bool) -> Run:
    """Kill the worker at one of the steps of a working save."""
    job.draw(2, random.Random(step).randrange(200))
    retained, latest = rf"exports/{job.id}/working/v0\.\d+/", f"datasets/{job.dataset}/working/"
    path = {
        "put retained": retained + "annotations_dice",
        "put retained metadata": retained + "metadata",
        "copy to latest": latest + "annotations",
        "put metadata": latest + "metadata",
        "record save": latest + "metadata",
    }[step]
    fault = stage.labeler.strike("hold", "PUT", path)
    job.save()
    _await(fault, step)
    if step == "record save":
        _kill_at_row(stage, fault, "version_exports", 'INSERT INTO "version_exports"', whole=whole)
    else:
        _kill(stage, "worker", whole=whole)
        fault.release.set()
    return _healed(stage, job, f"kill at save: {step}", str(fault.struck[0][1:]))


def _healed(stage: Stage, job: Job, fault: str, said: str) -> Run:
    healed = job.heal()
    job.prove()
    return Run(fault, True, healed, job.retries, [said])


# Generated ------------------------------------------------------------------------------------


def generated(stage: Stage, seed: int, *, steps: int = 12) -> Run:
    """Deeds of a client and one or more faults, all drawn from the seed; then everything is proved."""
    dice = random.Random(seed)
    job = stage.project()
    script = Script(stage, job, dice)
    try:
        for _ in range(steps):
            script.fault() if dice.random() < 0.3 else script.deed()
        script.must_strike()
    finally:
        script.end()
    healed = job.heal()
    script.late()
    job.prove()
    if not script.struck():
        raise NotStruck(f"seed {seed}: {script.told}")
    return Run(", ".join(sorted(set(script.names()))), True, healed, job.retries, script.told)


class Script:
    """One run as it is being made up."""

    def __init__(self, stage: Stage, job: Job, dice: random.Random) -> None:
        self.stage, self.job, self.dice = stage, job, dice
        self.told: list[str] = []
        self.armed: list[tuple[str, Fault]] = []
        self.wires: list[tuple[str, Callable[[], int], int]] = []
        self.kills: list[str] = []

    # What a client does

    def deed(self) -> None:
        """Something a person does."""
        chosen = self.dice.choice(
            ("draw", "draw", "move", "delete", "confirm", "confirm", "unconfirm", "publish", "save")
        )
        image, place = self.dice.randint(1, IMAGES), self.dice.randrange(50_000)
        present = sorted(self.job.boxes)
        self.told.append(f"{chosen} {image} {place}")
        if chosen == "draw" or (chosen in ("move", "delete") and not present):
            self.job.draw(image, place)
        elif chosen == "move":
            self.job.move(self.dice.choice(present), place)
        elif chosen == "delete":
            self.job.delete(self.dice.choice(present))
        elif chosen in ("confirm", "unconfirm"):
            getattr(self.job, chosen)(image)
        elif chosen == "publish":
            self.job.publish()
        else:
            self.job.save()
        if self.dice.random() < 0.3:
            self.job.watch()

    # What happens to it

    def fault(self) -> None:
        """Something that goes wrong from now on."""
        chosen = self.dice.choice((self._store, self._store, self._store, self._database, self._broker, self.kill_web,
                                   self._twice))  # fmt: skip
        chosen()

    def _store(self) -> None:
        kind = self.dice.choice(("status", "drop_before", "drop_after", "truncate", "delay", "late"))
        proxy, path = self.dice.choice((
            (self.stage.labeler, rf"exports/{self.job.id}/v\d+\.0/"),
            (self.stage.labeler, rf"exports/{self.job.id}/working/|datasets/{self.job.dataset}/working/"),
            (self.stage.platform, rf"datasets/{self.job.dataset}/annotations"),
        ))  # fmt: skip
        how = {"times": self.dice.choice((1, 2, 3)), "status": self.dice.choice((500, 503)), "seconds": 1.0}
        fault = proxy.strike(kind, "PUT", path, **how)
        name = {"status": f"store answers {how['status']}", "late": "late request after a newer one"}.get(
            kind, {"drop_before": "request lost", "drop_after": "answer lost", "truncate": "upload cut",
                   "delay": "slow store"}.get(kind, kind))  # fmt: skip
        self.armed.append((name, fault))
        self.told.append(f"fault {kind} {path} {how}")

    def _database(self) -> None:
        before = self.stage.database.did("cut")
        cuts = threading.Timer(self.dice.random() * 0.3, self.stage.database.cut)
        cuts.start()
        self.told.append("fault database connections cut")
        self.deed()
        cuts.join()
        self.wires.append(("database connections cut", lambda: self.stage.database.did("cut"), before))

    def _broker(self) -> None:
        mode = self.dice.choice(("refuse", "blackhole", "flush"))
        self.told.append(f"fault broker {mode}")
        if mode == "flush":
            self.job.draw(1, self.dice.randrange(50_000))
            self.job.confirm(1)
            self.job.publish()
            self.kills.append("broker flushed")
            flush(self.stage)
            return
        before = self.stage.broker.did(mode)
        self.stage.broker.mode = mode
        self.stage.broker.cut()
        self.job.publish()
        self.deed()
        self.wires.append((f"broker: {mode}", lambda: self.stage.broker.did(mode), before))
        self.stage.broker.heal()
        self.stage.broker.cut()

    def kill_web(self) -> None:
        """A web process dies with a request in it."""
        self.told.append("fault web killed")
        with self.stage.locked("annotations"):
            drawing = threading.Thread(target=lambda: self.job.draw(1, self.dice.randrange(50_000)), daemon=True)
            drawing.start()
            _kill_waiting(self.stage, "web", "INSERT INTO annotations (", whole=False)
        drawing.join(60)
        self.kills.append("web killed in a request")

    def _twice(self) -> None:
        """The last publish's message comes twenty times, and older ones after it."""
        if not self.job.version_ids:
            self.job.publish()
        ids = list(self.job.version_ids.values())
        self.dice.shuffle(ids)
        self.told.append(f"fault messages {ids} many times, in this order")
        send_again(self.stage, [each for each in ids for _ in range(10)])
        self.kills.append("messages repeated and out of order")

    # The end

    def must_strike(self) -> None:
        """Whatever was armed gets something to strike."""
        if not self.armed and not self.wires and not self.kills:
            self._store()
        self.job.draw(1, self.dice.randrange(50_000))
        self.job.confirm(1)
        self.job.publish()
        self.job.save()
        until = time.monotonic() + 10
        while time.monotonic() < until and not self.job.settled() and not self._all_struck():
            time.sleep(0.1)

    def _all_struck(self) -> bool:
        return all(fault.struck for _, fault in self.armed)

    def end(self) -> None:
        """No further faults; what is held stays on its way."""
        for proxy in (self.stage.labeler, self.stage.platform):
            with proxy.lock:
                proxy.faults = [each for each in proxy.faults if each.kind == "late" and each.struck]
        self.stage.broker.heal()
        self.stage.database.heal()

    def late(self) -> None:
        """What was held arrives now, after everything newer."""
        for _, fault in self.armed:
            if fault.kind == "late" and fault.struck:
                fault.release.set()
                assert fault.landed.wait(30), "the late request never landed"
                self.told.append(f"late {fault.struck[0][1:]}: {fault.outcome}")
        self.stage.calm()
        # A copy inside the store knows no condition: the reader sees it by its hash, and the next save puts it right.
        self.job.draw(1, 1)
        self.job.save()
        self.job.heal()

    def struck(self) -> list[str]:
        """Names of the faults that met something in flight."""
        met = [name for name, fault in self.armed if fault.struck]
        met += [name for name, did, before in self.wires if did() > before]
        return met + self.kills

    names = struck


def flush(stage: Stage) -> None:
    """The broker loses everything."""
    import redis

    with redis.Redis.from_url(stage.direct["REDIS_URL"]) as queue:
        queue.flushdb()


def saves_queue() -> str:
    """Where messages about saves that became due go."""
    from labeler.celery import app

    return app.amqp.router.route({}, "versions.tasks.save_if_due")["queue"].name


def pile_up_saves(stage: Stage, project: str, count: int) -> None:
    """As many messages about a project's save as come together while all workers are busy."""
    from celery import Celery

    ((task,),) = stage.query("SELECT id FROM project_tasks WHERE project_id = %s", project)
    with Celery(set_as_current=False, broker=stage.direct["REDIS_URL"]) as app:
        for _ in range(count):
            app.send_task("versions.tasks.save_if_due", [str(task)], queue=saves_queue())


def saves_waiting(stage: Stage) -> int:
    """How many of them nobody has taken yet."""
    import redis

    with redis.Redis.from_url(stage.direct["REDIS_URL"]) as queue:
        return queue.llen(saves_queue())


def send_again(stage: Stage, version_ids: list[int]) -> None:
    """Messages as the product sends them."""
    from celery import Celery

    with Celery(set_as_current=False, broker=stage.direct["REDIS_URL"]) as app:
        for each in version_ids:
            app.send_task("versions.tasks.advance_publish", args=[str(each)])
