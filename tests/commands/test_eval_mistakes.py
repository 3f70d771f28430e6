"""What can be wrong with the input of ``centernet eval-pth``: one line each, and exit status 2."""

import subprocess
import sys

import pytest
import torch
from support.painted import write_data

from centernet.networks.architectures import create_model

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')


# The checkpoint


def test_no_such_weights(refused, tmp_path):
    assert 'nowhere.pth' in refused(weights=tmp_path / 'nowhere.pth')


@pytest.mark.parametrize('part', [0.0, 0.02, 0.5, 0.999])
def test_truncated_weights(refused, tmp_path, weights, part):
    data = weights.read_bytes()
    (tmp_path / 'cut.pth').write_bytes(data[: int(len(data) * part)])
    assert 'cut.pth' in refused(weights=tmp_path / 'cut.pth')


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (self.target, 'w')


def test_a_pickle_bomb_does_not_run(refused, tmp_path, save_weights):
    # It goes off where it is read without care, so it is a bomb indeed.
    save_weights(tmp_path / 'bomb.pth', more=Bomb(str(tmp_path / 'went-off')))
    code = (
        'import inspect, sys, torch\nmore = {"weights_only": False} if "weights_only" in'
        ' inspect.signature(torch.load).parameters else {}\ntorch.load(sys.argv[1], **more)'
    )
    subprocess.check_call([sys.executable, '-c', code, str(tmp_path / 'bomb.pth')])
    assert (tmp_path / 'went-off').exists()
    (tmp_path / 'went-off').unlink()
    assert 'bomb.pth' in refused(weights=tmp_path / 'bomb.pth')
    assert not (tmp_path / 'went-off').exists()


def test_a_download_page_instead_of_weights(refused, tmp_path):
    (tmp_path / 'page.pth').write_bytes(b'<!DOCTYPE html><html><title>Virus scan warning</title></html>')
    message = refused(weights=tmp_path / 'page.pth')
    assert 'page.pth' in message
    assert 'starts with' in message and '<!DOCTYPE html>' in message


def test_the_wrong_architecture_names_the_right_one(refused):
    assert '--arch dla_tiny' in refused(arch='res_18')


def test_an_unknown_architecture_names_the_nearest(refused):
    assert 'did you mean dlav0_34?' in refused(arch='dlav0')


def test_weights_of_another_task(refused, tmp_path):
    model = create_model('dla_tiny', {'hm': 2, 'dep': 1})
    torch.save({'arch': 'dla_tiny', 'state_dict': model.state_dict()}, str(tmp_path / 'other.pth'))
    message = refused(weights=tmp_path / 'other.pth')
    assert 'cannot detect with' in message and 'the outputs lack wh; they are hm, dep' in message


def test_other_classes_than_the_data(refused, tmp_path, save_weights):
    message = refused(weights=save_weights(tmp_path / 'five.pth', classes=5))
    assert 'classes (5) cannot be matched to the categories of the data set (2)' in message


# The data


def test_no_data_folder(refused, tmp_path):
    assert 'nowhere' in refused(data=tmp_path / 'nowhere')


def test_no_annotations_file(refused, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert 'no annotations file' in refused(data=tmp_path / 'empty')
    assert 'nowhere.json' in refused(data=None, annotations=tmp_path / 'nowhere.json')


def test_invalid_json(refused, tmp_path):
    data = write_data(tmp_path / 'data')
    (data / 'annotations' / 'instances_val2017.json').write_text('{"images": [')
    assert 'as JSON' in refused(data=data)


def test_all_images_missing(refused, tmp_path):
    data = write_data(tmp_path / 'data')
    for path in (data / 'val2017').iterdir():
        path.unlink()
    assert 'none of the 12 images' in refused(data=data)


def test_ids_that_are_not_there(refused):
    assert 'no image with the id 99' in refused('--ids', '99')


# The rest


def test_output_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    assert 'cannot be written' in refused(output=tmp_path / 'file' / 'out')
    assert 'cannot be written' in refused(output='/proc/out')


@NO_GPU
@pytest.mark.parametrize('name', ['cuda', 'cuda:7'])
def test_a_gpu_that_is_not_there(refused, name):
    assert 'cuda' in refused(device=name)


@pytest.mark.parametrize('name', ['gpu', 'cpu:1', 'cuda:-1', 'cuda0', ''])
def test_a_device_that_means_nothing(refused, name):
    assert 'auto, cpu, cuda or cuda:N' in refused(device=name)


def test_auto_finds_a_device(eval_pth):
    assert eval_pth('--limit', '1', device='auto')[0] == 0


def test_weights_or_data_alone(refused, weights, folder):
    assert 'no --weights' in refused(weights=None)
    message = refused(data=None)
    assert '2 classes' in message
    assert 'unlike the sample' in message
    assert '--images needs' in refused(data=None, images=folder / 'val2017')


@pytest.mark.parametrize(
    'words, message',
    [
        (['--input-height', '100'], 'multiples of 32'),
        (['--keep-res', '--input-height', '64'], 'omit --input-height'),
        (['--test-scales', '0,1'], 'are not positive numbers'),
    ],
)
def test_sizes_that_the_network_does_not_take(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    'option, value',
    [
        ('--batch-size', '0'),
        ('--workers', '-1'),
        ('--limit', '0'),
        ('--threads', 'two'),
        ('--input-width', '0'),
    ],
)
def test_numbers_that_mean_nothing(eval_pth, option, value):
    status, _, err = eval_pth(option, value)
    assert status == 2
    assert f'{option} must be at least' in err or f'{option}: invalid int value' in err


def test_a_checkpoint_of_several_networks(refused, tmp_path, weights):
    saved = torch.load(str(weights))
    saved['ema'] = {'state_dict': saved['state_dict']}
    torch.save(saved, str(tmp_path / 'several.pth'))
    message = refused(weights=tmp_path / 'several.pth')
    assert '--weights-key is one of state_dict, ema.state_dict' in message
