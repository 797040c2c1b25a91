#ifndef CONNX_H
#define CONNX_H
#ifdef __cplusplus
extern "C" {
#endif
int lgo_abi(void);
#ifdef __cplusplus
}
#endif
#endif
