// The package manager wants a source; what counts is the header and the linker's setting.
#include "CYAML.h"
