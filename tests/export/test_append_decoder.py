"""The decoder in the graph against the evaluation's."""

import numpy as np
import onnxruntime
import pytest
from support.exports import SIZE, images, runnable

from centernet.detection import decode
from centernet.exporting.exporter import export
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork as OnnxRunner
from centernet.onnxfile import graph


@pytest.mark.parametrize('batch', [1, 2, None])
def test_the_decoder_gives_the_boxes_that_the_evaluation_decodes(batch, checkpoint, tmp_path):
    loaded, x = checkpoint('dla_tiny'), images(batch or 3)
    targets = [target for target in ('onnx', 'portable') if runnable(target)]
    shared = dict(size=(SIZE, SIZE), batch=batch)
    files = export(loaded, str(tmp_path), 'net', targets, boxes=20, **shared)
    for path, with_heads in zip(files, export(loaded, str(tmp_path), 'heads', targets, **shared)):
        heads = OnnxRunner(with_heads, 'cpu', 1)(x)
        expected = decode(heads, k=21)
        expected_scores = expected.scores.numpy()
        apart = expected_scores[:, :-1] - expected_scores[:, 1:] > 1e-5
        # onnxruntime fuses the two files differently, so what scores the same to rounding may change places
        clear = apart & np.concatenate([np.ones_like(apart[:, :1]), apart[:, :-1]], axis=1)
        assert clear.mean() > 0.5
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        assert [value.name for value in session.get_outputs()] == ['boxes', 'scores', 'classes']
        boxes, scores, classes = session.run(None, {'image': x})
        assert np.abs(scores - expected_scores[:, :20]).max() < 1e-6
        assert np.abs(boxes - 4 * expected.boxes.numpy()[:, :20])[clear].max() < 1e-3
        assert classes.dtype == np.int64 and np.array_equal(
            classes[clear], expected.classes.numpy()[:, :20][clear]
        )
        assert len(np.unique(classes)) > 1 and (scores[:, 1:] <= scores[:, :-1]).all()


def test_the_decoder_gives_no_more_boxes_than_there_are_cells(checkpoint, tmp_path):
    (path,) = export(checkpoint('dla_tiny'), str(tmp_path), 'net', ['portable'], size=(32, 32), boxes=1000)
    assert [value.shape for value in graph.load(path).outputs] == [(1, 192, 4), (1, 192), (1, 192)]
