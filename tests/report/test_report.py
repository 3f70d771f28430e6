"""The page and its files, as commands make them."""

import csv
import html.parser
import json
import os
import re

import attr
import pytest
from support.made_up import made_up_dataset, run_of, write_results, write_run

from centernet.cli import main
from centernet.coco import CocoData
from centernet.report import write_report
from centernet.system.errors import OptionError

FILES = ['confusion.csv', 'curves.csv', 'errors.csv', 'per_class.csv', 'report.html']


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._open = [], '', []
        self.source = path.read_text(encoding='utf-8')
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        self._open = [item for item in self._open if item != tag]

    def handle_data(self, data):
        if not {'script', 'style'}.intersection(self._open):
            self.text += data

    def count(self, tag, name=None):
        return sum(
            found == tag and (name is None or name in attributes.get('class', '').split())
            for found, attributes in self.tags
        )


def rows(path):
    with open(str(path), newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def sample_report(sample_folder_of_run, tmp_path_factory):
    output = tmp_path_factory.mktemp('report')
    assert main(['report', str(sample_folder_of_run), '--output', str(output)]) == 0
    return output


def test_files(sample_report, sample_folder_of_run):
    assert sorted(path.name for path in sample_report.iterdir()) == FILES
    page = Page(sample_report / 'report.html')
    metrics = json.loads((sample_folder_of_run / 'metrics.json').read_text())
    for name, value in metrics['metrics'].items():
        assert name in page.text and f'{value:.3f}' in page.text
    assert 'centernet eval-pth --input-height 128 --input-width 128 --normalization coco' in page.text
    assert metrics['record']['network']['sha256'] in page.text
    assert page.count('figure') >= 24 and page.count('svg', 'picture') == 24
    assert page.count('svg', 'chart') == 2 + 4  # precision and recall, score; the classes


def test_tables_have_the_data_behind_the_plots(sample_report, sample_folder_of_run):
    metrics = json.loads((sample_folder_of_run / 'metrics.json').read_text())
    by_class = {row['class']: float(row['ap']) for row in rows(sample_report / 'per_class.csv')}
    assert by_class == pytest.approx(metrics['per_class'])
    curves = {}
    for row in rows(sample_report / 'curves.csv'):
        curves.setdefault((row['class'], row['curve']), []).append(float(row['y']))
    assert {len(values) for values in curves.values()} == {101}
    mean = curves['(mean)', 'precision over recall at IoU 0.50:0.95']
    assert sum(mean) / 101 == pytest.approx(metrics['metrics']['AP'], abs=1e-6)
    assert len(rows(sample_report / 'errors.csv')) == 6
    table = rows(sample_report / 'confusion.csv')
    confusion = {(row['annotated'], row['detected']): int(row['count']) for row in table}
    assert confusion['circle', 'circle'] > 100 and confusion['circle', '(missed)'] < 10


def test_nothing_is_loaded_from_elsewhere(sample_report):
    page = Page(sample_report / 'report.html')
    for tag, attributes in page.tags:
        for name in ('src', 'href', 'xlink:href', 'action', 'srcset', 'poster'):
            value = attributes.get(name, '')
            assert tag == 'a' or not value or value.startswith(('#', 'data:')), (tag, value)
    assert not re.search(r'@import|url\(', page.source)
    policy = [
        item['content'] for tag, item in page.tags if item.get('http-equiv') == 'Content-Security-Policy'
    ]
    assert policy and policy[0].startswith("default-src 'none'")


def test_every_reference_has_a_target(sample_report):
    page = Page(sample_report / 'report.html')
    ids = [attributes['id'] for _, attributes in page.tags if 'id' in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        targets = [attributes.get('href', '')[1:]] if attributes.get('href', '').startswith('#') else []
        for target in targets + attributes.get('aria-labelledby', '').split():
            assert target in ids


def test_two_runs(tmp_path):
    first = write_run(tmp_path / 'data', images=30, seed=1)
    results = json.loads((first / 'results.json').read_text())
    data = CocoData.load(None, str(tmp_path / 'data' / 'annotations.json'), str(tmp_path / 'data' / 'images'))
    weaker = [dict(item, score=max(0.01, round(item['score'] - 0.3, 2))) for item in results[::2]]
    changed = weaker + results[1::2]
    second = write_results(tmp_path / 'second', data, changed)
    output = tmp_path / 'out'
    assert main(['report', str(first), str(second), '--output', str(output)]) == 0
    page = Page(output / 'report.html')
    found = [json.loads((run / 'metrics.json').read_text())['metrics']['AP'] for run in (first, second)]
    assert f'{found[1] - found[0]:+.3f}' in page.text
    assert 'Images that differ' in page.text and page.count('svg', 'picture') == 2 * 24
    assert len({row['run'] for row in rows(output / 'per_class.csv')}) == 2


def test_eval_pth_makes_it_too(data_folder, tmp_path):
    arguments = ['eval-pth', '--limit', '4', '--device', 'cpu', '--report', '--no-progress']
    assert main([*arguments, '--output', str(tmp_path / 'out')]) == 0
    assert set(FILES) < set(os.listdir(str(tmp_path / 'out')))
    assert '--limit 4' in Page(tmp_path / 'out' / 'report.html').text
    again = tmp_path / 'again'
    assert main(['report', str(tmp_path / 'out'), '--output', str(again)]) == 0
    for name in FILES:
        assert (again / name).read_bytes() == (tmp_path / 'out' / name).read_bytes()


def test_a_page_about_another_run_is_removed(tmp_path):
    arguments = ['eval-pth', '--limit', '2', '--device', 'cpu', '--no-progress', '--output', str(tmp_path)]
    assert main([*arguments, '--report']) == 0 and (tmp_path / 'report.html').exists()
    assert main([*arguments, '--flip-test']) == 0
    assert not set(FILES).intersection(os.listdir(str(tmp_path)))


def test_verify_makes_one_about_what_differs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['export', '--target', 'portable']) == 0
    arguments = ['verify', 'output/export/dla_tiny_portable.onnx', '--limit', '4', '--compare-images', '1']
    assert main([*arguments, '--report', '--device', 'cpu', '--no-progress']) == 0
    page = Page(tmp_path / 'output' / 'verify' / 'dla_tiny_portable' / 'report.html')
    assert '0 of 4 images differ' in page.text and 'dla_tiny_portable.onnx' in page.text
    assert 'centernet eval-onnx output/export/dla_tiny_portable.onnx' in page.text


def test_without_a_run_eval_pth_runs_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DEVICE', 'cpu')
    assert main(['report', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['files'][0] == 'output/report/report.html'
    assert main(['report']) == 0  # now it has results
    assert 'images per second' not in capsys.readouterr().out


def test_80_classes_and_24_pictures_fit_into_5_mb(tmp_path):
    run = write_run(tmp_path / 'data', images=40, classes=80, seed=4)
    assert main(['report', str(run), '--output', str(tmp_path / 'out')]) == 0
    assert (tmp_path / 'out' / 'report.html').stat().st_size < 5e6
    page = Page(tmp_path / 'out' / 'report.html')
    assert page.count('svg', 'picture') == 24 and page.count('svg', 'heat') == 1


def test_hostile_names_stay_text(tmp_path):
    dataset, results = made_up_dataset(images=10, classes=2, seed=2)
    hostile = '<script>alert(1)</script>"\'&\u4eba'
    for number, category in enumerate(dataset['categories']):
        category['name'] = hostile + str(number)
    data = CocoData(dataset, hostile, hostile)
    write_report(str(tmp_path), run_of(data, results, hostile))
    page = Page(tmp_path / 'report.html')
    assert page.count('script') == 1 and hostile in page.text
    assert {row['class'] for row in rows(tmp_path / 'per_class.csv')} == {hostile + '0', hostile + '1'}


def test_pictures_that_cannot_be_read_are_named(tmp_path, capsys):
    run = write_run(tmp_path / 'data', pictures=0, images=30)
    assert main(['report', str(run), '--output', str(tmp_path / 'out')]) == 0
    error = capsys.readouterr().err
    assert 'No such file' in error and 'cannot decode' in error
    assert Page(tmp_path / 'out' / 'report.html').count('svg', 'picture') == 0


def test_no_detections_and_no_objects(tmp_path):
    for name, options in (('nothing', {'per_image': 0, 'background': 0}), ('false', {'per_image': 0})):
        dataset, results = made_up_dataset(images=5, **options)
        run = run_of(CocoData(dataset, 'a.json', 'images'), results)
        write_report(str(tmp_path / name), run)
        write_report(str(tmp_path / name / 'pair'), run, run)
        assert 'n/a' in Page(tmp_path / name / 'report.html').text


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda run: (run / 'metrics.json').unlink(), 'not the folder of a finished evaluation'),
        (lambda run: (run / 'results.json').write_text('[{]'), 'not valid JSON'),
        (lambda run: (run / 'results.json').write_text('[]'), 'do not belong together'),
        (lambda run: (run.parent / 'annotations.json').unlink(), 'give --data'),
        (lambda run: change_annotations(run.parent / 'annotations.json'), 'differs from what'),
    ],
)
def test_a_damaged_run_is_one_line(tmp_path, capsys, damage, message):
    run = write_run(tmp_path / 'data', pictures=0, images=5)
    damage(run)
    assert main(['report', str(run), '--output', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and len(error) == 1


def change_annotations(path):
    path.write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1))


def test_runs_of_different_images(tmp_path):
    runs = []
    for seed in (1, 2):
        dataset, results = made_up_dataset(images=5, seed=seed)
        run = run_of(CocoData(dataset, 'a.json', 'images'), results)
        runs.append(run)
    record = runs[1].record
    other = runs[1]._replace(record=attr.evolve(record, data=attr.evolve(record.data, sha256='another')))
    with pytest.raises(OptionError, match='different annotations'):
        write_report(str(tmp_path), runs[0], other)
    with pytest.raises(OptionError, match='the same images'):
        write_report(str(tmp_path), runs[0], runs[1]._replace(image_ids=[1, 2]))
