"""deploy/kubernetes: rendered by kubectl, valid for it and by Kubernetes' schemas, and what the pods may do.

No cluster is needed. tests/container/test_indexed_job.py runs the pods as containers.
"""

import copy
import glob
import json
import os
import re

import pytest
from support.kubernetes import (
    FOLDER,
    ROOT,
    arguments_of,
    container_of,
    documents,
    environment_of,
    has_network,
    kubectl,
    named,
    need_kubectl,
    objects,
    pod_of,
    render,
)

from centernet import cli
from centernet.system.shards import shard_of_engine

pytestmark = pytest.mark.skipif(
    not os.path.exists(FOLDER), reason='not a whole checkout: the image omits files'
)
#: overlay -> the names of its runs
OVERLAYS = {'cpu/pinned': ['pinned'], 'cpu/modern': ['modern'], 'cpu': ['pinned', 'modern'], 'gpu': ['gpu']}
FILES = ['claims.yaml', 'transfer.yaml']
IMAGES = {'pinned': 'pinned-cuda-none', 'modern': 'modern-cuda-none', 'gpu': 'modern-cuda-13.0'}
#: the oldest Kubernetes that the README names, and the newest with schemas when this was written
VERSIONS = ('1.29', '1.37')
PODS = [*OVERLAYS, 'transfer.yaml']


@pytest.fixture(scope='module')
def manifests():
    """The objects of every overlay and file."""
    need_kubectl()
    found = {overlay: render(overlay) for overlay in OVERLAYS}
    for name in FILES:
        with open(os.path.join(FOLDER, name), encoding='utf-8') as file:
            found[name] = objects(file.read())
    return found


def runs(manifest):
    """(name, evaluation, merge) of each run of an overlay."""
    for item in manifest:
        if item['kind'] == 'Job' and item['spec'].get('completionMode') == 'Indexed':
            name = item['spec']['template']['metadata']['labels']['app.kubernetes.io/instance']
            yield name, item, named(manifest, 'Job', f'merge-{name}')


def pods(manifest):
    return [item for item in manifest if item['kind'] in ('Job', 'Pod')]


def contains(whole, part):
    """Whether a document has all of another."""
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def typed(items):
    """The objects after kubectl has read them into its own types, which refuse wrong values and have no place
    for unknown fields. The only such command without a cluster writes a field, too."""
    given = json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': items})
    words = ('set', 'serviceaccount', '--local', '--output', 'json', '--filename', '-', 'any')
    return documents(kubectl(*words, given=given))


@pytest.mark.parametrize('overlay', PODS)
def test_kubectl_knows_every_field(manifests, overlay):
    items = [item for item in manifests[overlay] if item['kind'] == 'Job']
    items = items or [as_job(item) for item in manifests[overlay]]
    assert contains(typed(items), items)


def as_job(pod):
    """The command is for objects with a template of pods only."""
    template = {'metadata': pod['metadata'], 'spec': pod['spec']}
    return {
        'apiVersion': 'batch/v1',
        'kind': 'Job',
        'metadata': pod['metadata'],
        'spec': {'template': template},
    }


def test_kubectl_notices_mistakes(manifests):
    job = copy.deepcopy(manifests['gpu'][0])
    job['spec']['backoffLimitPerIndx'] = job['spec'].pop('backoffLimitPerIndex')
    assert not contains(typed([job]), [job])
    job['spec']['completions'] = 'four'
    with pytest.raises(AssertionError, match=r'completions of type int'):
        typed([job])


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('name', [*OVERLAYS, *FILES])
def test_the_schemas_of_kubernetes(manifests, name, version):
    kubernetes_validate = pytest.importorskip(
        'kubernetes_validate', reason='kubernetes-validate is not installed'
    )
    for item in manifests[name]:
        assert kubernetes_validate.validate(item, version, strict=True) == version
        item = dict(copy.deepcopy(item), unknown={})
        with pytest.raises(kubernetes_validate.ValidationError, match='unknown'):
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize('overlay', OVERLAYS)
def test_the_runs_of_an_overlay(manifests, overlay):
    found = list(runs(manifests[overlay]))
    assert [name for name, _, _ in found] == sorted(OVERLAYS[overlay])
    assert len(pods(manifests[overlay])) == 2 * len(found)
    for name, *jobs in found:
        for job in jobs:
            assert container_of(job)['image'] == 'centernet-container:' + IMAGES[name]


@pytest.mark.parametrize('overlay', OVERLAYS)
def test_every_pod_gets_its_shard(manifests, overlay):
    for _, job, _ in runs(manifests[overlay]):
        count = job['spec']['completions']
        shards = [shard_of_engine(environment_of(job, index))[0] for index in range(count)]
        assert shards == [(index + 1, count) for index in range(count)]
        assert 1 <= job['spec']['parallelism'] <= count


@pytest.mark.parametrize('overlay', OVERLAYS)
def test_the_commands_exist_and_share_a_folder(manifests, overlay):
    outputs = set()
    for name, job, merging in runs(manifests[overlay]):
        evaluation = cli.build_parser().parse_args(arguments_of(job))
        merge = cli.build_parser().parse_args(arguments_of(merging))
        assert (evaluation.command, merge.command) == ('eval-pth', 'merge')
        assert evaluation.resume
        assert merge.folders == [evaluation.output]
        outputs |= {evaluation.output, merge.output}
        assert all(
            os.path.dirname(output) == f'output/{name}' for output in (evaluation.output, merge.output)
        )
    assert len(outputs) == 2 * len(OVERLAYS[overlay])


@pytest.mark.parametrize('overlay', OVERLAYS)
def test_failures(manifests, overlay):
    for _, job, merging in runs(manifests[overlay]):
        assert job['spec']['backoffLimitPerIndex'] > 0
        assert job['spec']['podReplacementPolicy'] == 'Failed', 'two pods would write one journal'
        assert merging['spec']['suspend'], 'it would start with the evaluation'
        for item, action, statuses in ((job, 'FailIndex', [2]), (merging, 'FailJob', [1, 2])):
            disruption, fatal = item['spec']['podFailurePolicy']['rules']
            assert disruption['action'] == 'Ignore'
            assert disruption['onPodConditions'] == [{'type': 'DisruptionTarget', 'status': 'True'}]
            assert fatal['action'] == action
            assert fatal['onExitCodes']['operator'] == 'In'
            assert fatal['onExitCodes']['values'] == statuses
            assert fatal['onExitCodes']['containerName'] == container_of(item)['name']
            assert pod_of(item)['restartPolicy'] == 'Never', 'a condition of podFailurePolicy'


@pytest.mark.parametrize('overlay', PODS)
def test_what_pods_may_do(manifests, overlay):
    for item in pods(manifests[overlay]):
        pod, container = pod_of(item), container_of(item)
        assert pod['securityContext']['runAsNonRoot'] and pod['securityContext']['runAsUser'] > 0
        assert pod['securityContext']['seccompProfile'] == {'type': 'RuntimeDefault'}
        assert pod['automountServiceAccountToken'] is False
        assert not [key for key in pod if key.startswith('host')]
        assert container['securityContext'] == {
            'allowPrivilegeEscalation': False,
            'readOnlyRootFilesystem': True,
            'capabilities': {'drop': ['ALL']},
        }
        assert {'cpu', 'memory'} <= set(container['resources']['limits'])
        assert all(volume['emptyDir']['sizeLimit'] for volume in pod['volumes'] if 'emptyDir' in volume)


@pytest.mark.parametrize('overlay', OVERLAYS)
def test_jobs_have_no_network_and_read_data_only(manifests, overlay):
    for item in pods(manifests[overlay]):
        assert not has_network(item, manifests[overlay])
        mounts = {
            mount['mountPath']: mount.get('readOnly', False) for mount in container_of(item)['volumeMounts']
        }
        assert mounts == {'/workspace/data': True, '/workspace/output': False, '/tmp': False}


def test_gpus(manifests):
    for overlay in OVERLAYS:
        for name, job, merging in runs(manifests[overlay]):
            gpus = [
                container_of(item)['resources']['limits'].get('nvidia.com/gpu') for item in (job, merging)
            ]
            assert gpus == (['1', None] if name == 'gpu' else [None, None])
            assert environment_of(job, 0)['DEVICE'] == ('cuda' if name == 'gpu' else 'cpu')


def test_claims(manifests):
    modes = {item['metadata']['name']: item['spec']['accessModes'] for item in manifests['claims.yaml']}
    assert modes['centernet-output'] == ['ReadWriteMany'], 'pods on several nodes write to it'
    for name in PODS:
        for item in pods(manifests[name]):
            volumes = [volume for volume in pod_of(item)['volumes'] if 'persistentVolumeClaim' in volume]
            assert {volume['persistentVolumeClaim']['claimName'] for volume in volumes} == set(modes)


def test_the_readme_names_what_there_is(manifests):
    with open(os.path.join(FOLDER, 'README.md'), encoding='utf-8') as file:
        text = file.read()
    for path in re.findall(r'deploy/kubernetes/[\w./-]+', text):
        assert os.path.exists(os.path.join(ROOT, path)), path
    names = {item['metadata']['name'] for manifest in manifests.values() for item in manifest}
    assert names >= set(
        re.findall(r'(?:eval-pth|merge|centernet)-(?:modern|pinned|gpu|transfer|data|output)\b', text)
    )
    folders = {os.path.relpath(os.path.dirname(path), FOLDER) for path in kustomizations()}
    assert folders == {'base', *OVERLAYS}


def kustomizations():
    return glob.glob(os.path.join(FOLDER, '**', 'kustomization.yaml'), recursive=True)
