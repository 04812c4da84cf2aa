#include "kernels/precompiled.h"
