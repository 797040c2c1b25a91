// YAML, from the libyaml that is linked in.
#ifndef CYAML_H
#define CYAML_H
#include <yaml.h>
#endif
