/*
 * The scanner of message octets: one pass that finds the end of a message, its stuffing dots, and
 * bare CR and LF (RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2).
 *
 * It does what scanPurely() and hasBareNewlinePurely() of scanning.py do: they are the definition,
 * and tests hold this to them. It reads within the octets that it is given, writes within the bytes
 * object that it makes, and keeps nothing.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#if defined(__SSE2__) && defined(__GNUC__) /* clang says so, too */
#define BLOCKS
#include <emmintrin.h>
#endif

/*
 * The first place from p on where a CRLF and a dot begin; if bares is set, or one where a bare CR
 * stands, or the octet before a bare LF. end if there is none. A CR that is the last octet is
 * undecided, and doesn't count; nor does an LF at p itself, which the caller has looked at.
 */
static inline const char *
next_place(const char *p, const char *end, const int dots, const int bares)
{
#if defined(BLOCKS)
    const __m128i return_ = _mm_set1_epi8('\r');
    const __m128i feed = _mm_set1_epi8('\n');
    const __m128i dot = _mm_set1_epi8('.');
    while (end - p >= 16 + 2) {
        /* Sixteen octets, those behind each of them, and those behind these. */
        __m128i returns = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)p), return_);
        __m128i feeds = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p + 1)), feed);
        __m128i places = _mm_setzero_si128();
        if (dots)
            places = _mm_and_si128(
                _mm_and_si128(returns, feeds),
                _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p + 2)), dot));
        if (bares)
            places = _mm_or_si128(places, _mm_xor_si128(returns, feeds));
        int found = _mm_movemask_epi8(places);
        if (found != 0)
            return p + __builtin_ctz((unsigned int)found);
        p += 16;
    }
#endif
    for (; end - p >= 2; p++) {
        int is_return = p[0] == '\r', is_feed = p[1] == '\n';
        if (is_return != is_feed) {
            if (bares)
                return p;
        }
        else if (dots && is_return && end - p >= 3 && p[2] == '.')
            return p;
    }
    return end;
}

/* hasBareNewline(raw) */
static PyObject *
has_bare_newline(PyObject *module, PyObject *raw)
{
    char *start;
    Py_ssize_t length;

    if (PyBytes_AsStringAndSize(raw, &start, &length) < 0)
        return NULL;
    const char *end = start + length;
    int is_bare = length > 0 && (*start == '\n' || next_place(start, end, 0, 1) != end);
    return PyBool_FromLong(is_bare);
}

/* A piece of content, copied to where the content is made. */
static char *
copy(char *to, const char *from, const char *until)
{
    memcpy(to, from, (size_t)(until - from));
    return to + (until - from);
}

/* scan(raw, isStrict): content, where its end is, and whether there is a bare newline in it. */
static PyObject *
scan(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    char *start;
    Py_ssize_t length, at = -1;
    int is_strict, is_bare;
    PyObject *content = NULL;
    char *to = NULL;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "scan() takes two arguments");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(arguments[0], &start, &length) < 0)
        return NULL;
    is_strict = PyObject_IsTrue(arguments[1]);
    if (is_strict < 0)
        return NULL;

    const char *p = start, *end = start + length;
    const char *from = start; /* what isn't copied yet begins here */
    const char *until = end;  /* and ends here */
    is_bare = is_strict && length > 0 && *start == '\n';
    for (;;) {
        /* Once there was a bare newline, another one makes no difference. */
        p = is_strict && !is_bare ? next_place(p, end, 1, 1) : next_place(p, end, 1, 0);
        if (p == end)
            break;
        if (p[0] != '\r' || p[1] != '\n') {
            is_bare = 1;
            continue;
        }
        p += 2; /* where the dot is */
        if (end - p >= 3 && p[1] == '\r' && p[2] == '\n') {
            at = p - 2 - start;
            until = p;
            break;
        }
        if (content == NULL) {
            /* As long as it can be: a dot is left out. */
            content = PyBytes_FromStringAndSize(NULL, length);
            if (content == NULL)
                return NULL;
            to = PyBytes_AS_STRING(content);
        }
        to = copy(to, from, p);
        from = p + 1;
    }
    if (content != NULL) {
        to = copy(to, from, until);
        if (_PyBytes_Resize(&content, to - PyBytes_AS_STRING(content)) < 0)
            return NULL;
    }
    else if (until == end)
        content = Py_NewRef(arguments[0]);
    else {
        content = PyBytes_FromStringAndSize(start, until - start);
        if (content == NULL)
            return NULL;
    }
    return Py_BuildValue("(NnN)", content, at, PyBool_FromLong(is_bare));
}

static PyMethodDef methods[] = {
    {"hasBareNewline", has_bare_newline, METH_O, NULL},
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_scanner", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__scanner(void)
{
    return PyModuleDef_Init(&definition);
}
