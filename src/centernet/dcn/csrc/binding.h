// What the parts of the extension module share.
#pragma once

#include <torch/extension.h>

#include "cpu.h"

namespace centernet {
namespace dcn {

// torch's own threads: a second pool beside it would compete for the same cores.
Threads torch_threads();

// Adds the layers of layers.h to the module.
void define_layers(py::module& module);

}  // namespace dcn
}  // namespace centernet
