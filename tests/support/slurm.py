"""A Slurm of one node, for tests: munged, slurmctld and slurmd, with all their files in one folder."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch')
NODE = 'node1'
#: nothing here takes longer, even on a busy machine
HANG_S = 240

#: variables of another Slurm, and of the scripts
_OTHERS = re.compile('(SLURM|SBATCH|SQUEUE|SINFO|SCANCEL|APPTAINER)|(SHARDS|RESTARTS|IMAGE)$')

# cred_expire is also how long a task waits before it starts again: usually two minutes.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=2
ReturnToService=2
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000
PartitionName=all Nodes=ALL Default=YES
"""


def missing() -> List[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if _program(name) is None]


class Slurm:
    """A context manager. ``environment``: the variables with which Slurm's commands, and tests, find it.

    Args:
        folder: for its configuration, keys, states and logs; created.
        variables: added to the environment.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not _OTHERS.match(name)}
        self.environment = dict(environment, SLURM_CONF=str(folder / 'slurm.conf'), **variables)
        self._user = pwd.getpwuid(os.geteuid()).pw_name
        self._daemons: Dict[str, subprocess.Popen] = {}

    def __enter__(self) -> 'Slurm':
        folder = self.folder
        for path in (folder, folder / 'state', folder / 'spool'):
            path.mkdir()
        key = folder / 'munge.key'
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        text = CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().split('.')[0],
            user=self._user,
            ports=_free_ports(2),
            node=NODE,
        )
        (folder / 'slurm.conf').write_text(text)
        try:
            names = ('key-file', 'socket', 'pid-file', 'seed-file')
            files = [f'--{name}={folder}/munge.{name.split("-")[0]}' for name in names]
            self._start('munged', '--foreground', '--force', *files)
            self.wait_for((folder / 'munge.socket').exists, 'munged starts')
            self._start('slurmctld', '-D')
            self.start_node()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._is_running('slurmctld') and self._is_running('slurmd'):
                self.call('scancel', '--user', self._user)
                self.wait_for(lambda: not self.queue(), 'the jobs end')
        finally:
            for name in ('slurmd', 'slurmctld', 'munged'):
                if self._is_running(name):
                    self._daemons[name].terminate()
                    self._daemons[name].wait(60)

    def start_node(self) -> None:
        """Start the node's slurmd, and wait until the node is idle."""
        self._start('slurmd', '-D', '-N', NODE)
        self.wait_for(
            lambda: self.call('sinfo', '--noheader', '--format=%T', check=False) == 'idle', 'the node is idle'
        )

    def cut_power_of_node(self) -> None:
        """Kill all processes of the node, those of its jobs included, and tell slurmctld, which would notice
        after minutes."""
        pids = [int(line.split()[0]) for line in self.call('scontrol', 'listpids').splitlines()[1:]]
        daemon = self._daemons.pop('slurmd')
        step_daemons = {_parent(pid) for pid in pids} - set(pids)  # these would report to slurmctld
        daemon.kill()
        daemon.wait()
        for pid in (*step_daemons, *pids):
            with contextlib.suppress(ProcessLookupError):  # a loader process ends with its parent
                os.kill(pid, signal.SIGKILL)
        self.call('scontrol', 'update', f'nodename={NODE}', 'state=down', 'reason=power')

    def call(self, *command: str, check: bool = True, cwd: Optional[Path] = None) -> str:
        """Run a command that finds this Slurm; return its stdout, without white space at the ends."""
        run = subprocess.run(
            command,
            cwd=None if cwd is None else str(cwd),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=60,
        )
        assert not check or run.returncode == 0, f'{command} ended with {run.returncode}: {run.stdout}'
        return run.stdout.strip()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; fail if a daemon ends or it takes too long."""
        deadline = time.time() + HANG_S
        while not condition():
            for name in self._daemons:
                assert self._is_running(name), f'{name} has ended: {self._log(name)}'
            assert time.time() < deadline, f'waited in vain until {what}: {self._log("slurmctld")}'
            time.sleep(0.05)

    def queue(self) -> List[str]:
        """Return the ids of the jobs and tasks that wait or run, such as 3_1."""
        return self.call('squeue', '--noheader', '--array', '--format=%i').split()

    def job(self, name: str) -> Dict[str, str]:
        """Return what Slurm knows about a job or a task of an array, such as 3_1; JobState is an entry."""
        words = self.call('scontrol', '--oneliner', 'show', 'job', name).split()
        return dict(word.split('=', 1) for word in words if '=' in word)

    def _start(self, name: str, *options: str) -> None:
        with open(str(self.folder / f'{name}.out'), 'wb') as log:
            self._daemons[name] = subprocess.Popen(
                [_program(name), *options], env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def _is_running(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def _log(self, name: str) -> str:
        return (self.folder / f'{name}.out').read_text()[-3000:]


def _program(name: str) -> Optional[str]:
    # daemons are in folders that are not on the PATH of ordinary users
    return shutil.which(name, path=os.pathsep.join((os.environ.get('PATH', ''), '/usr/sbin', '/sbin')))


def _parent(pid: int) -> int:
    with open(f'/proc/{pid}/stat') as file:
        return int(file.read().rsplit(')', 1)[1].split()[1])


def _free_ports(count: int) -> List[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(('127.0.0.1', 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
