"""Building the same commit again without cached layers gives the same packages and the same files.

The distribution's own files are excluded: they are those of the day, or of APT_SNAPSHOT.
"""

import re

from support.engine import ROOT, call

LIST = (
    'find /opt /usr/local -type f -print0 | sort -z | xargs -0 sha256sum; find /opt /usr/local -type l'
    ' -printf "%l %p\\n" | sort; find /opt /usr/local -not -type d -printf "%m %u:%g %p\\n" | sort'
)
PACKAGES = 'ls -d /opt/venv/lib/python3.*/site-packages/*.dist-info'


def lines_of(settings, image, *command):
    """The lines that a command in an image prints."""
    return call(
        ['docker', 'run', '--rm', '--entrypoint', command[0], image] + list(command[1:]), environment=settings
    ).stdout.splitlines()


def test_building_again_gives_the_same_files(settings, images):
    again = 'centernet-container:again'
    run = call(
        [
            'docker',
            'buildx',
            'bake',
            '--file',
            'docker-compose.yml',
            '--progress',
            'plain',
            '--load',
            '--set',
            'eval-pth.no-cache=true',
            '--set',
            f'eval-pth.tags={again}',
            'eval-pth',
        ],
        environment=settings,
        cwd=ROOT,
    )
    steps = dict(re.findall(r'^#(\d+) (\[.*)$', run.stderr, re.MULTILINE))
    cached = [steps[number] for number in re.findall(r'^#(\d+) CACHED', run.stderr, re.MULTILINE)]
    assert any('install-python.sh stack' in step for step in steps.values())
    assert [step for step in cached if ' FROM ' not in step] == [], 'a step was taken from the cache'
    for script, least in ((PACKAGES, 20), (LIST, 10000)):
        first, second = (lines_of(settings, image, 'bash', '-c', script) for image in (images[0], again))
        assert len(first) > least
        assert sorted(set(first) ^ set(second)) == []


def test_a_difference_is_found(settings, images):
    changed = lines_of(settings, images[0], 'bash', '-c', 'echo >>/opt/venv/bin/centernet; ' + LIST)
    assert [
        line.split()[-1] for line in set(changed) - set(lines_of(settings, images[0], 'bash', '-c', LIST))
    ] == ['/opt/venv/bin/centernet']
