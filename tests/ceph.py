"""Ceph's S3 gateway for the tests, where its programs are installed: real signatures, real expiry."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from labeler.embedded.processes import ends_with_us, free_port

ACCESS_KEY, SECRET_KEY = "CEPHTESTS", "ceph-tests-secret"
PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")

CONFIG = """[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}/0
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
pid_file = {folder}/$name.pid
mon_data = {folder}/mon
osd_data = {folder}/osd
keyring = {folder}/keyring
osd_objectstore = memstore
memstore_device_bytes = 2147483648
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 10000
mon_osd_full_ratio = 0.99
mon_osd_backfillfull_ratio = 0.98
mon_osd_nearfull_ratio = 0.97
mon_data_avail_crit = 1
rgw_run_sync_thread = false
rgw_dns_name = localhost
"""


class Ceph:
    """One monitor, one object store in memory, one gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.mon_port = free_port(), free_port()
        self.conf = str(folder / "ceph.conf")
        self.processes: list[subprocess.Popen] = []

    @property
    def endpoint(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def start_if_installed(cls, data: Path) -> Ceph | None:
        """A running gateway, or None where Ceph is not installed; a start that fails is an error."""
        if not all(shutil.which(program) for program in PROGRAMS):
            return None
        ceph = cls(data / "ceph")
        ceph.start()
        return ceph

    def start(self) -> None:
        """Make keys and maps, start the daemons, make one user."""
        for name in ("mon", "osd"):
            (self.folder / name).mkdir(parents=True)
        fsid, keyring = str(uuid.uuid4()), str(self.folder / "keyring")
        Path(self.conf).write_text(CONFIG.format(fsid=fsid, mon_port=self.mon_port, folder=self.folder))
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.")
        for name in ("client.admin", "client.rgw", "osd.0"):
            caps = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *caps)
        monmap, address = str(self.folder / "monmap"), f"[v2:127.0.0.1:{self.mon_port}/0]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--keyring", keyring, "--monmap", monmap, "-c", self.conf)
        self._daemon("ceph-mon", "-f", "-i", "a")
        osd = str(uuid.uuid4())
        self._run("timeout", "30", "ceph", "-c", self.conf, "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "-c", self.conf)
        self._daemon("ceph-osd", "-f", "-i", "0")
        self._wait_for_osd()
        frontend = f"beast endpoint=127.0.0.1:{self.port}"
        self._daemon("radosgw", "-f", "-n", "client.rgw", f"--rgw_frontends={frontend}")
        self._wait_for_gateway()
        self._run("radosgw-admin", "-c", self.conf, "user", "create", "--uid", "test", "--display-name", "test",
                  "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)  # fmt: skip

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr}")
        return done.stdout

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            self.processes.append(
                subprocess.Popen([*command, "-c", self.conf], stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True, preexec_fn=ends_with_us(signal.SIGKILL))
            )  # fmt: skip

    def _wait_for_osd(self) -> None:
        for _ in range(200):
            if "1 up" in self._run("timeout", "10", "ceph", "-c", self.conf, "osd", "stat"):
                return
            time.sleep(0.1)
        raise RuntimeError("the object store did not come up")

    def _wait_for_gateway(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(self.endpoint, timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError("the gateway did not answer")

    def stop(self) -> None:
        """End the daemons; all was in memory."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
