// What the templates need from the system; included before the target attribute is pushed.
#include <float.h>
#include <math.h>
#include <string.h>
#include "internal.h"
