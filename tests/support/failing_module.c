/* A PKCS#11 module in front of another one, which fails on order: tests/support/failing_modules.py gives the orders.
 *
 * REAL_MODULE is the path of the module behind. Before each call of a function the file FAULT_FILE is read, if it is
 * there: "INDEX ACTION", where INDEX is the function's place in CK_FUNCTION_LIST (from 0) and ACTION is hang, crash,
 * exit, or a number: the return value, given without calling the module behind. With the actions extractable and garbled,
 * C_GetAttributeValue calls it and says then that a key may leave the token, or that a point is all zeros; with legible,
 * visible, modulus, public-exponent and kind, that a key isn't sensitive or private, that an RSA key is of fewer bits or
 * another exponent, or that a key is of no known type.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUNCTIONS 68
typedef unsigned long (*function)(long, long, long, long, long, long, long, long);
struct list {
    unsigned char major, minor;
    function of[FUNCTIONS];
};
struct attribute {
    unsigned long type;
    void *value;
    unsigned long size;
};
#define CKA_PRIVATE 0x2
#define CKA_SENSITIVE 0x103
#define CKA_EXTRACTABLE 0x162
#define CKA_EC_POINT 0x181
#define CKA_KEY_TYPE 0x100
#define CKA_MODULUS 0x120
#define CKA_PUBLIC_EXPONENT 0x122
static struct list *real, shown;
static __thread char bent;

static unsigned long fault(int index) {
    int ordered;
    char action[32] = "";
    FILE *file = fopen(FAULT_FILE, "r");
    bent = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%d %31s", &ordered, action) != 2 || ordered != index)
        action[0] = 0;
    fclose(file);
    if (!strcmp(action, "hang"))
        for (;;)
            pause();
    if (!strcmp(action, "crash"))
        raise(SIGSEGV);
    if (!strcmp(action, "exit"))
        _exit(5);
    if (action[0] < '0' || action[0] > '9')
        bent = action[0];
    return strtoul(action, NULL, 0);
}

static void bend(struct attribute *of, unsigned long count) {
    for (; bent && count; of++, count--) {
        if (!of->value || of->size == -1UL)
            continue;
        if (bent == 'e' && of->type == CKA_EXTRACTABLE)
            *(unsigned char *)of->value = 1;
        if ((bent == 'l' && of->type == CKA_SENSITIVE) || (bent == 'v' && of->type == CKA_PRIVATE))
            *(unsigned char *)of->value = 0;
        if (bent == 'g' && of->type == CKA_EC_POINT)
            memset(of->value, 0, of->size);
        if (bent == 'k' && of->type == CKA_KEY_TYPE)
            *(unsigned long *)of->value = 0x7fffffff;
        if (bent == 'm' && of->type == CKA_MODULUS)
            *(unsigned char *)of->value = 0;
        if (bent == 'p' && of->type == CKA_PUBLIC_EXPONENT)
            ((unsigned char *)of->value)[of->size - 1] += 2;
    }
}

#define F(n)                                                                                               \
    static unsigned long f##n(long a, long b, long c, long d, long e, long f, long g, long h) {            \
        unsigned long value = fault(n);                                                                    \
        value = value ? value : real->of[n](a, b, c, d, e, f, g, h);                                       \
        bend((struct attribute *)c, (unsigned long)d);                                                     \
        return value;                                                                                      \
    }
#define TEN(X, t) X(t##0) X(t##1) X(t##2) X(t##3) X(t##4) X(t##5) X(t##6) X(t##7) X(t##8) X(t##9)
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) \
    TEN(X, 5) X(60) X(61) X(62) X(63) X(64) X(65) X(66) X(67)
ALL(F)

unsigned long C_GetFunctionList(struct list **list) {
    void *module = dlopen(REAL_MODULE, RTLD_NOW);
    unsigned long (*get)(struct list **) = module ? (unsigned long (*)(struct list **))dlsym(module, "C_GetFunctionList") : 0;
    if (!shown.major) {
        if (!get || get(&real))
            return 5; /* CKR_GENERAL_ERROR */
        shown.major = real->major;
        shown.minor = real->minor;
#define SET(n) shown.of[n] = f##n;
        ALL(SET)
    }
    *list = &shown;
    return 0;
}
