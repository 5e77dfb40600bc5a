#ifndef FLOWGUARD_CZSTD_H
#define FLOWGUARD_CZSTD_H

#include <zstd.h>

#endif
