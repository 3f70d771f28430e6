"""The same commit, built again: the same packages, and the same files byte for byte."""

from engine import ROOT, call

#: the stages that hold everything of Python; the distribution's packages are of the day on which they are installed (APT_SNAPSHOT)
STAGES = 'packages,operator,lean'
LIST = 'find /opt /usr/local -type f -print0 | sort -z | xargs -0 sha256sum; find /opt /usr/local -type l -printf "%l %p\\n" | sort; ' \
       'find /opt /usr/local -not -type d -printf "%m %u:%g %p\\n" | sort'
PACKAGES = 'import pkg_resources; print(sorted(map(str, pkg_resources.working_set)))'


def test_building_again_gives_the_same_files(settings, images):
    again = 'centernet-container:again'
    call(['docker', 'buildx', 'bake', '--file', 'docker-compose.yml', '--load', '--set', 'eval-pth.no-cache-filter={}'.format(STAGES),
          '--set', 'eval-pth.tags={}'.format(again), 'eval-pth'], environment=settings, cwd=ROOT)
    first, second = (call(['docker', 'image', 'inspect', '--format', '{{.Id}}', name], environment=settings).stdout
                     for name in (images[0], again))
    assert first != second, 'nothing was built again'
    for command in (['python', '-c', PACKAGES], ['bash', '-c', LIST]):
        one, other = (call(['docker', 'run', '--rm', '--entrypoint', command[0], name] + command[1:], environment=settings).stdout.splitlines()
                      for name in (images[0], again))
        assert len(''.join(one)) > 1000
        assert sorted(set(one) ^ set(other)) == []


def test_the_test_finds_a_difference(settings, images):
    changed = call(['docker', 'run', '--rm', '--entrypoint', 'bash', images[0], '-c', 'echo >>/opt/venv/bin/centernet; ' + LIST],
                   environment=settings).stdout.splitlines()
    whole = call(['docker', 'run', '--rm', '--entrypoint', 'bash', images[0], '-c', LIST], environment=settings).stdout.splitlines()
    assert [line.split()[-1] for line in set(changed) - set(whole)] == ['/opt/venv/bin/centernet']
