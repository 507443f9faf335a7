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

/* The first CR or LF from p on; end if there is none. */
static const char *
find_newline(const char *p, const char *end)
{
#if defined(BLOCKS)
    const __m128i returns = _mm_set1_epi8('\r');
    const __m128i feeds = _mm_set1_epi8('\n');
    while (end - p >= 16) {
        __m128i octets = _mm_loadu_si128((const __m128i *)p);
        int found = _mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(octets, returns), _mm_cmpeq_epi8(octets, feeds)));
        if (found != 0)
            return p + __builtin_ctz((unsigned int)found);
        p += 16;
    }
#endif
    while (p < end && *p != '\r' && *p != '\n')
        p++;
    return p;
}

/*
 * What comes next that matters: CRLF (its length is 2), or a bare CR or LF (1). At the end of the
 * octets, and for a CR that is the last of them and thus undecided, it is 0.
 */
static int
next_newline(const char **p, const char *end)
{
    *p = find_newline(*p, end);
    if (*p == end || (**p == '\r' && end - *p == 1))
        return 0;
    return **p == '\r' && (*p)[1] == '\n' ? 2 : 1;
}

/* hasBareNewline(raw) */
static PyObject *
has_bare_newline(PyObject *module, PyObject *raw)
{
    char *start;
    Py_ssize_t length;
    int found;

    if (PyBytes_AsStringAndSize(raw, &start, &length) < 0)
        return NULL;
    const char *p = start, *end = start + length;
    while ((found = next_newline(&p, end)) == 2)
        p += 2;
    return PyBool_FromLong(found);
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
    int found, is_strict, is_bare = 0;
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
    while ((found = next_newline(&p, end)) != 0) {
        p += found;
        if (found == 1) {
            is_bare = is_strict;
            continue;
        }
        if (p == end || *p != '.')
            continue;
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
        from = ++p;
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
