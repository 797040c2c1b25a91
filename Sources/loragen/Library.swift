// The shared library is the C API with its linker settings; there is nothing else in it.
