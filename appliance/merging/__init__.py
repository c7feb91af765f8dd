"""Merging: base + adapter → one model, tensor by tensor from safetensors to safetensors, with numpy and little memory.

    weights.py      what stands where in the base's weight files
    base.py         is this the base that the adapter was trained on, in its original 16 bits, and unharmed?
    adapter.py      what an adapter folder holds, and with which scale each part counts
    names.py        the base's tensors under the names that an adapter uses for them
    find.py         adapter + base → what changes in which tensor; what is not known here goes through peft
    changes.py      the arithmetic of each kind of change, a block of rows at a time
    numbers.py      16-bit numbers to float32 and back
    plan.py         the weight files that will be written, part by part
    pieces.py       these cut into blocks, and how a block is made
    stream.py       the blocks made, hashed and written
    journal.py      which weight files are finished: what a resumed merge need not do again

A merged number is peft's: the same products summed in the same order in float32, rounded where peft rounds.
"""
