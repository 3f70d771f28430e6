"""What network.py measures: it calls :func:`prepare` and :func:`serve`, each in a process of its own."""

import os
import time

import numpy as np

HEADS = {'hm': 80, 'wh': 2, 'reg': 2}
#: standard deviations of the offsets in pixels: of their mean over the map between the taps, and around it.
#: With more of the latter, rounding grows from one deformable convolution to the next, as it does not in
#: trained networks.
MEAN_SPREAD, SPREAD = 1.4, 0.5


def serve(pipe, name, folder, threads, cores):
    """Run an implementation whenever the pipe says so."""
    os.sched_setaffinity(0, cores)
    with np.load(os.path.join(folder, 'data.npz')) as data:
        image = data['image']
    run, note = IMPLEMENTATIONS[name](folder, image, threads)
    heads = run()
    pipe.send((None, note))
    while True:
        what = pipe.recv()
        if what is None:
            return
        if what == 'run':
            start = time.perf_counter()
            run()
            pipe.send((None, time.perf_counter() - start))
        else:
            pipe.send((None, {head: np.array(heads[head]) for head in HEADS}))


# Every implementation: (folder, image, threads) -> a function that returns the heads by name, and a note.


def ours(precision):
    return lambda *arguments: run_ours(precision, *arguments)


def run_ours(precision, folder, image, threads):
    from centernet.system.device import apply_threads, prepare_threads

    apply_threads(prepare_threads(threads))  # before torch is imported
    import torch

    from centernet.kernels import compiled
    from centernet.networks.runtimes import open_network

    runner = open_network(os.path.join(folder, 'net.pth'), 'cpu', threads, precision=precision)
    return lambda: runner.outputs(image), f'torch {torch.__version__}, {compiled.description()}'


def plain_torch(folder, image, threads):
    import torch

    from centernet.kernels import module
    from centernet.networks.checkpoint import load_model

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model = load_model(os.path.join(folder, 'net.pth')).model.eval()
    note = f'torch {torch.__version__}'
    if deforms(model):
        import torchvision

        def deform(input, offset, mask, weight, bias, stride, padding, dilation, **_):
            return torchvision.ops.deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)

        module.deform_conv2d = deform
        note += f', torchvision {torchvision.__version__}'
    tensor, fastest = torch.from_numpy(image), {}

    def run():
        return model(tensor)

    layouts = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
    for layout in layouts.values():
        model, tensor = model.to(memory_format=layout), tensor.to(memory_format=layout)
        run()
        fastest[layout] = min(elapsed(run) for _ in range(3))
    chosen = min(layouts, key=lambda name: fastest[layouts[name]])
    model = model.to(memory_format=layouts[chosen])
    tensor = tensor.to(memory_format=layouts[chosen])
    return run, f'{note}, {chosen}'


def elapsed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def onnxruntime(target):
    return lambda *arguments: run_onnxruntime(target, *arguments)


def run_onnxruntime(target, folder, image, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        file_of(folder, target), options, providers=['CPUExecutionProvider']
    )

    def run():
        return dict(zip(HEADS, session.run(list(HEADS), {'image': image})))

    return run, f'onnxruntime {onnxruntime.__version__}'


def openvino(target, precision):
    return lambda *arguments: run_openvino(target, precision, *arguments)


def run_openvino(target, precision, folder, image, threads):
    import openvino
    from openvino.frontend.onnx import ConversionExtension

    core = openvino.Core()
    core.add_extension(ConversionExtension('DeformConv', openvino_deform_conv))
    settings = {
        'INFERENCE_PRECISION_HINT': precision,
        'PERFORMANCE_HINT': 'LATENCY',
        'NUM_STREAMS': 1,
        'INFERENCE_NUM_THREADS': threads,
    }
    network = core.compile_model(core.read_model(file_of(folder, target)), 'CPU', settings)
    request = network.create_infer_request()

    def run():
        request.infer({'image': image}, share_inputs=True)
        return {name: request.get_tensor(name).data for name in HEADS}

    used = network.get_property('INFERENCE_PRECISION_HINT').get_type_name()
    if used != precision:
        raise RuntimeError(f'OpenVINO computes in {used} on this processor, not in {precision}')
    note = f'openvino {openvino.get_version().split("-")[0]}'
    if target == 'onnx' and os.path.exists(path_of(folder, 'portable')):
        note += ', with a rule for DeformConv'
    return run, note


def openvino_deform_conv(node):
    """DeformConv as OpenVINO's own operator, for which its reader of ONNX files has no rule."""
    from openvino import opset8

    data, weight, offset, bias, mask = (node.get_input(index) for index in range(5))
    pads = list(node.get_attribute('pads'))
    result = opset8.deformable_convolution(
        data,
        offset,
        weight,
        list(node.get_attribute('strides')),
        pads[:2],
        pads[2:],
        list(node.get_attribute('dilations')),
        mask,
        bilinear_interpolation_pad=True,
    )
    return opset8.add(result, opset8.reshape(bias, np.array([1, -1, 1, 1]), False)).outputs()


IMPLEMENTATIONS = {
    'ours fp32': ours('fp32'),
    'ours bf16': ours('bf16'),
    'plain torch': plain_torch,
    'onnxruntime onnx': onnxruntime('onnx'),
    'onnxruntime portable': onnxruntime('portable'),
    'openvino onnx fp32': openvino('onnx', 'f32'),
    'openvino onnx bf16': openvino('onnx', 'bf16'),
    'openvino portable fp32': openvino('portable', 'f32'),
    'openvino portable bf16': openvino('portable', 'bf16'),
}


def path_of(folder, target):
    return os.path.join(folder, f'net_{target}.onnx')


def file_of(folder, target):
    path = path_of(folder, target)
    if not os.path.exists(path):
        raise RuntimeError('without deformable convolutions it is the same graph as onnx')
    return path


def prepare(pipe, arch, size, folder):
    """Write the files of a network, an image, and the heads that are expected for it."""
    os.environ['CENTERNET_DCN'] = 'reference'
    import torch

    from centernet.exporting.exporter import export
    from centernet.networks.architectures import create_model
    from centernet.networks.checkpoint import load_model

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    coarse = torch.randn(3, 3, max(size // 16, 2), max(size // 16, 2))
    images = torch.nn.functional.interpolate(coarse, (size, size), mode='bicubic', align_corners=False)
    images += 0.1 * torch.randn_like(images)
    model = create_model(arch, HEADS)
    draw_weights(model, images[:2])
    path = os.path.join(folder, 'net.pth')
    torch.save({'arch': arch, 'input_size': [size, size], 'state_dict': model.state_dict()}, path)
    loaded = load_model(path)
    targets = ['onnx', 'portable'] if deforms(model) else ['onnx']
    export(loaded, folder, 'net', targets, size=(size, size))
    heads = loaded.model.eval()(images[2:])
    arrays = {name: heads[name].numpy() for name in HEADS}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise RuntimeError(f'the heads of {arch} are not finite')
    np.savez(os.path.join(folder, 'data.npz'), image=images[2:].numpy(), **arrays)
    pipe.send((None, None))


def draw_weights(model, images):
    """Draw weights so that values stay of order 1 and offsets are about 1.5 pixels."""
    from torch import nn

    from centernet.kernels import DCN

    def scale_offsets(module, inputs):
        predictor = module.conv_offset_mask
        predictor.weight *= SPREAD / predictor(inputs[0])[:, :18].std()
        predictor.bias[:18].normal_(0, MEAN_SPREAD)

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, DCN)):
            module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5)
        if isinstance(module, DCN):
            hooks.append(module.register_forward_pre_hook(scale_offsets))
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of these images
            if name.endswith('.bn2'):  # the last one of a residual block: sums must not grow
                module.weight.fill_(0.3)
    model.train()(images)
    for hook in hooks:
        hook.remove()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # in maps of few cells a variance can be 0 by chance
            module.running_var.clamp_(min=0.1 * float(module.running_var.mean()))


def deforms(model):
    from centernet.kernels import DCN

    return any(isinstance(module, DCN) for module in model.modules())
