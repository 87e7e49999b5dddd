"""As much of torch as the bridge's helper uses, so that its tests need no installation."""

uint8 = "uint8"


def Size(dimensions):
    return tuple(dimensions)


def frombuffer(array, dtype):
    return memoryview(array).cast("B")
