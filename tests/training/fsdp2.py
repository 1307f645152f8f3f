"""One of several processes that train under accelerate's FSDP2, on a CPU.

accelerate takes presets/accelerate/fsdp2.yaml for GPUs alone; on a CPU it falls back to copies.
Here its state is told that it shards; all the rest is its own path and ours.
"""

import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from mutual_taught.training import launch

made = AcceleratorState.__init__


def init(self: Any, *arguments: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    """Make the state, sharding where a plugin is given."""
    made(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


if __name__ == "__main__":
    AcceleratorState.__init__ = init
    launch.main(Path(sys.argv[1]))
