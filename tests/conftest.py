"""What all tests share: how hypothesis searches."""

import os

from hypothesis import settings

# A shared machine may be slow at any moment, so no example has a deadline. In CI the same examples are tried in every run.
settings.register_profile('centernet', deadline=None, derandomize=bool(os.environ.get('CI')), print_blob=True)
settings.load_profile('centernet')
