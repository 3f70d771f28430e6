"""Shared by the tests of deploy/kubernetes: the manifests as kubectl renders them, and pods as containers."""

import json
import os
import re
import shutil
import subprocess
from typing import Any, Dict, List, Optional

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, 'deploy', 'kubernetes')
#: the first kubectl with all that the kustomizations use
OLDEST_KUBECTL = (1, 27)
INDEX = 'JOB_COMPLETION_INDEX'
UNITS = {'Mi': 1 << 20, 'Gi': 1 << 30}
# What docker_run knows of a pod. A manifest that uses more is not simulated, and has to fail.
POD = {'containers', 'restartPolicy', 'securityContext', 'volumes'}
POD |= {'automountServiceAccountToken', 'enableServiceLinks'}  # nothing that Docker has
CONTAINER = {'args', 'env', 'image', 'name', 'resources', 'securityContext', 'volumeMounts'}


def kubectl(*words: str, given: Optional[str] = None) -> str:
    """Run kubectl, which has no cluster, with ``given`` as its input; return what it prints.

    Raises:
        AssertionError: it failed; with its message.
    """
    run = subprocess.run(
        ['kubectl'] + list(words),
        env=dict(os.environ, KUBECONFIG=os.devnull),
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def need_kubectl() -> None:
    """Skip the test where there is no kubectl that can render the manifests."""
    if shutil.which('kubectl') is None:
        pytest.skip('kubectl is missing')
    version = json.loads(kubectl('version', '--client', '--output', 'json'))['clientVersion']['gitVersion']
    if tuple(map(int, re.match(r'v(\d+)\.(\d+)', version).groups())) < OLDEST_KUBECTL:
        pytest.skip('kubectl {} is too old, {}.{} or newer is needed'.format(version, *OLDEST_KUBECTL))


def render(overlay: str) -> List[Dict[str, Any]]:
    """Return the objects of an overlay, such as ``cpu/modern``."""
    return objects(kubectl('kustomize', os.path.join(FOLDER, overlay)))


def objects(manifest: str) -> List[Dict[str, Any]]:
    """Return the objects of a manifest's text."""
    words = ('patch', '--local', '--type', 'merge', '--patch', '{}', '--output', 'json', '--filename', '-')
    return documents(kubectl(*words, given=manifest))


def documents(text: str) -> List[Dict[str, Any]]:
    """Return the JSON documents that kubectl prints one after the other."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        document, position = decoder.raw_decode(text, position)
        found.append(document)
    return found


def named(manifest: List[Dict[str, Any]], kind: str, name: str) -> Dict[str, Any]:
    """Return the one object of that kind and name."""
    (found,) = [item for item in manifest if (item['kind'], item['metadata']['name']) == (kind, name)]
    return found


def pod_of(item: Dict[str, Any]) -> Dict[str, Any]:
    """Return the description of the pods of a Job, or of a Pod."""
    return item['spec']['template']['spec'] if item['kind'] == 'Job' else item['spec']


def container_of(item: Dict[str, Any]) -> Dict[str, Any]:
    """Return the description of the one container of an object's pods."""
    (container,) = pod_of(item)['containers']
    return container


def quantity(text: str) -> int:
    """``8Gi`` -> bytes."""
    return int(text[:-2]) * UNITS[text[-2:]]


def environment_of(job: Dict[str, Any], index: Optional[int] = None) -> Dict[str, str]:
    """Return the variables of a pod of a Job; ``index``: of the pod, if the Job is indexed."""
    labels = job['spec']['template']['metadata']['labels']
    variables = {}
    for entry in container_of(job).get('env', []):
        if 'value' in entry:
            variables[entry['name']] = entry['value']
        else:
            path = entry['valueFrom']['fieldRef']['fieldPath']
            variables[entry['name']] = labels[re.match(r"metadata\.labels\['(.*)'\]\Z", path).group(1)]
    assert (index is not None) == (job['spec'].get('completionMode') == 'Indexed')
    if index is not None:
        variables[INDEX] = str(index)
    return variables


def arguments_of(job: Dict[str, Any]) -> List[str]:
    """Return the arguments of a Job's container, with its variables filled in."""
    variables = environment_of(job, 0 if job['spec'].get('completionMode') == 'Indexed' else None)
    return [
        re.sub(r'\$\((\w+)\)', lambda match: variables[match.group(1)], word)
        for word in container_of(job)['args']
    ]


def has_network(job: Dict[str, Any], manifest: List[Dict[str, Any]]) -> bool:
    """Whether no policy of the manifest cuts a Job's pods off."""
    labels = job['spec']['template']['metadata']['labels']
    for policy in (item['spec'] for item in manifest if item['kind'] == 'NetworkPolicy'):
        selected = policy['podSelector']['matchLabels'].items() <= labels.items()
        if (
            selected
            and set(policy['policyTypes']) == {'Ingress', 'Egress'}
            and not policy.keys() & {'ingress', 'egress'}
        ):
            return False
    return True


def docker_run(
    job: Dict[str, Any],
    manifest: List[Dict[str, Any]],
    claims: Dict[str, str],
    cores: int,
    index: Optional[int] = None,
) -> List[str]:
    """Return the options of ``docker run`` and the image, for a container like that of a pod of a Job.

    Args:
        job: from ``manifest``.
        manifest: all objects that are applied together.
        claims: the name of a PersistentVolumeClaim -> the folder that is mounted for it.
        cores: how many there are; Docker refuses to limit a container to more.
        index: of the pod, for an indexed Job.
    """
    pod, container = pod_of(job), container_of(job)
    assert set(pod) <= POD and set(container) <= CONTAINER
    user, rights, limits = (
        pod['securityContext'],
        container['securityContext'],
        container['resources']['limits'],
    )
    assert user['runAsNonRoot'] and user['seccompProfile'] == {'type': 'RuntimeDefault'}, "Docker's default"
    memory = quantity(limits['memory'])
    # no --init: Kubernetes has none
    options = ['--user', '{runAsUser}:{runAsGroup}'.format(**user), '--group-add', str(user['fsGroup'])]
    options += ['--memory', str(memory), '--memory-swap', str(memory)]
    options += ['--cpus', str(min(int(limits['cpu']), cores))]
    options += [word for name in rights['capabilities']['drop'] for word in ('--cap-drop', name)]
    if rights['readOnlyRootFilesystem']:
        options.append('--read-only')
    if not rights['allowPrivilegeEscalation']:
        options += ['--security-opt', 'no-new-privileges']
    if not has_network(job, manifest):
        options += ['--network', 'none']
    for name, value in environment_of(job, index).items():
        options += ['--env', f'{name}={value}']
    volumes = {volume['name']: volume for volume in pod['volumes']}
    for mount in container['volumeMounts']:
        assert set(mount) <= {'name', 'mountPath', 'readOnly'}
        volume, path = volumes[mount['name']], mount['mountPath']
        if 'emptyDir' in volume:
            options += [
                '--tmpfs',
                '{}:mode=1777,size={}'.format(path, quantity(volume['emptyDir']['sizeLimit'])),
            ]
        else:
            folder = claims[volume['persistentVolumeClaim']['claimName']]
            options += ['--volume', f'{folder}:{path}' + (':ro' if mount.get('readOnly') else '')]
    return options + [container['image']]
