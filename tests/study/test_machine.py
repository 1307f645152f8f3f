"""The machine's kind is the processor's model and the instructions that decide."""

from study.machine import processor


def test_processor_is_named_by_model_and_flags() -> None:
    text = (
        "processor : 0\nmodel name : Some CPU\nflags : fpu avx2 avx512_bf16 sse\n\nmodel name : x"
    )
    assert processor(text) == "Some CPU avx512_bf16 avx2"
