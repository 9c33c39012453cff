"""Which layout is this folder? One answer in words and in settings, or all that was looked for."""

from mask2former.layouts.find import find_layout
from mask2former.layouts.found import Found
from mask2former.layouts.own import with_own_settings
from mask2former.layouts.settle import settle, settle_evaluation

__all__ = ["Found", "find_layout", "settle", "settle_evaluation", "with_own_settings"]
