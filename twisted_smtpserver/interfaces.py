"""
Every interface that a user of this library implements or is given.

A *handler* is any object that has one or more of the hooks declared here. A hook may return a plain
value, a :class:`~twisted.internet.defer.Deferred` or be an ``async def``; it refuses by raising
:class:`~twisted_smtpserver.errors.Rejection`. A refusal with code 421 closes the connection. Any
other exception is a bug: the client gets ``451 4.3.0`` and an incident id, the log the traceback.

While a hook is pending the client's later commands wait. After ``handlerTimeout`` seconds its
Deferred is canceled and the client gets 451; when the client leaves it is canceled, too.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IConnectionHandler(Interface):
    """Follows connections from their beginning to their end."""

    def onConnect(session):  # type: ignore[no-untyped-def]  # zope interfaces have no self
        """
        A client connected; it has not been greeted yet.

        Called when the PROXY header was read, implicit TLS was negotiated and the reverse name is
        known; again after XCLIENT, with the claimed address.

        :param session: the new :class:`~twisted_smtpserver.session.Session`.
        :returns: nothing of interest; to return at all is to accept.
        :raises Rejection: 554 by default: it replaces the greeting (RFC 5321 §3.1).
        """

    def onSecure(session):  # type: ignore[no-untyped-def]
        """
        A TLS handshake was completed: ``session.tls`` tells which.

        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :raises Rejection: 554 5.7.0 by default, in answer to every command but QUIT.
        """

    def onClose(session):  # type: ignore[no-untyped-def]
        """
        The connection is gone. Called exactly once for each that reached ``onConnect``.

        :param session: the :class:`~twisted_smtpserver.session.Session`.
        """


class IHelloHandler(Interface):
    """Judges the client's hello."""

    def onHello(hostname, session):  # type: ignore[no-untyped-def]
        """
        HELO, EHLO or LHLO came.

        :param hostname: the name or address literal that the client gave, a ``str``.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :raises Rejection: 550 by default.
        """


class IAuthHandler(Interface):
    """Knows the users. AUTH is offered exactly when a handler has this hook."""

    def onAuth(credentials, session):  # type: ignore[no-untyped-def]
        """
        A SASL exchange is complete (RFC 4954).

        :param credentials: the :class:`~twisted_smtpserver.sasl.credentials.Credentials`.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: the user: a non-empty ``str`` or ``bytes``, or
            :class:`~twisted_smtpserver.sasl.credentials.Authenticated` for any other object, or to
            let the user act as ``credentials.authzid``; ``None`` refuses.
        :raises AuthenticationFailed: 535 5.7.8 by default.
        """


class IScramHandler(Interface):
    """Keeps SCRAM's secrets; an add-on to :class:`IAuthHandler`."""

    def scramSecret(username, mechanism, session):  # type: ignore[no-untyped-def]
        """
        Look a user's stored secret up (RFC 5802 §3).

        :param username: the name that the client gave.
        :param mechanism: ``"SCRAM-SHA-256"`` or ``"SCRAM-SHA-256-PLUS"``.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: a :class:`~twisted_smtpserver.sasl.scram.ScramSecret`, or ``None`` if there is no
            such user, which the client can't tell from a wrong password.
        """


class IEnvelopeHandler(Interface):
    """Judges senders and recipients."""

    def onMailFrom(address, session):  # type: ignore[no-untyped-def]
        """
        MAIL came. ``session.envelope`` holds the validated parameters.

        :param address: the sender's :class:`~twisted_smtpserver.session.Address`.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: ``None``, a text or an :class:`~twisted_smtpserver.results.Accepted` for the 250.
        :raises Rejection: 550 by default.
        """

    def onRcptTo(address, session):  # type: ignore[no-untyped-def]
        """
        RCPT came; called for each one.

        :param address: the recipient's :class:`~twisted_smtpserver.session.Address`.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: ``None``, a text or an :class:`~twisted_smtpserver.results.Accepted` for the 250;
            ``Accepted("…", code=251)`` says that the mail will be forwarded (RFC 5321 §3.4).
        :raises Rejection: 550 by default.
        """


class IDataHandler(Interface):
    """Takes messages."""

    def onData(stream, session):  # type: ignore[no-untyped-def]
        """
        A message comes: DATA, or the first BDAT.

        The client is asked for the octets (354) when the stream is first read, or when this returns
        without having refused. The final reply waits for the result *and* the end of the message.

        :param stream: the :class:`IMessageStream`.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: ``None``, a text or an :class:`~twisted_smtpserver.results.Accepted` for the 250.
            Also a list of those in the order of ``session.envelope.rcptTo``, or a dict by address
            (object or string), whose values may be exceptions, too; they may differ where
            ``session.envelope.perRecipient``.
        :raises Rejection: 450 by default.
        """


class ITransactionHandler(Interface):
    """Learns how transactions end."""

    def onTransactionEnd(envelope, outcome, session):  # type: ignore[no-untyped-def]
        """
        A transaction is over; called once for each accepted MAIL.

        :param envelope: its :class:`~twisted_smtpserver.session.Envelope`.
        :param outcome: ``"accepted"`` (for at least one recipient), ``"refused"``, ``"reset"``
            (RSET, a new hello) or ``"lost"`` (the client left).
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        """


class IErrorHandler(Interface):
    """Learns of bugs, in addition to the log."""

    def onError(failure, session):  # type: ignore[no-untyped-def]
        """
        Something failed that shouldn't have.

        :param failure: a :class:`~twisted.python.failure.Failure`.
        :param session: the :class:`~twisted_smtpserver.session.Session`, or ``None`` where it was
            the listener that failed.
        """


#: The hooks' names, and the interface that declares each.
HOOKS = {
    name: interface
    for interface in (
        IConnectionHandler,
        IHelloHandler,
        IAuthHandler,
        IScramHandler,
        IEnvelopeHandler,
        IDataHandler,
        ITransactionHandler,
        IErrorHandler,
    )
    for name in interface.names()
}


class IMessageStream(Interface):
    """
    A message while it arrives: dot-unstuffed octets, CRLF kept, nothing added.

    Read it in one of the ways offered. The socket is paused while nobody reads, so memory stays
    constant, however large the message. What is left unread is thrown away.

    Every way of reading raises :class:`~twisted_smtpserver.errors.MessageTooLarge` (over the
    ``size`` option), :class:`~twisted_smtpserver.errors.BareNewline` (under
    ``bareNewlines="reject"``) or :class:`~twisted_smtpserver.errors.MessageIncomplete` (the client
    left). Such a message is never answered 250, whatever the handler returns.
    """

    byteLength = Attribute("How many octets of content have come in so far.")
    sizeExceeded = Attribute("Whether the message has outgrown the ``size`` option.")

    def read(limit=32 * 2**20):  # type: ignore[no-untyped-def]
        """
        The whole rest of the message. Once it was read to its end, in whichever way, there is
        nothing left, and to read is a :exc:`RuntimeError`.

        :param limit: how many octets to hold in memory at most.
        :returns: a Deferred of ``bytes``; :class:`~twisted_smtpserver.errors.MessageTooLarge` if
            there are more than ``limit``.
        """

    def __aiter__():  # type: ignore[no-untyped-def]
        """Iterate over the octets in chunks of any size: ``async for chunk in stream``."""

    def pipeTo(consumer):  # type: ignore[no-untyped-def]
        """
        Write the octets to a consumer, at the consumer's pace.

        :param consumer: an :class:`~twisted.internet.interfaces.IConsumer`; it is unregistered but
            not closed at the end.
        :returns: a Deferred that fires with the number of octets written;
            :class:`~twisted_smtpserver.errors.ConsumerStopped` if the consumer stopped early.
        """

    def saveTo(target):  # type: ignore[no-untyped-def]
        """
        Save the octets durably, off the reactor's thread.

        :param target: a path (``str`` or :class:`os.PathLike`): a temporary file next to it is
            written, synced and renamed, and removed on failure; or an open binary file, which is
            written to and flushed but not closed.
        :returns: a Deferred that fires with the number of octets written.
        :raises OSError: (from the Deferred) if the file system does.
        """

    def message(limit=32 * 2**20):  # type: ignore[no-untyped-def]
        """
        The message as the standard library has it. Header fields are parsed when they are read, in
        linear time. So are contents; all other clients wait while those of a large part are.

        :param limit: as for :meth:`read`.
        :returns: a Deferred of :class:`email.message.EmailMessage`;
            :class:`~twisted_smtpserver.errors.MessageTooComplex` (554 5.6.0) if the message is
            beyond a bound of :mod:`twisted_smtpserver.message.bounds`.
        """

    def parsed(limit=32 * 2**20):  # type: ignore[no-untyped-def]
        """
        The message decoded: subject, addresses, date, text, HTML, attachments. Whatever is wrong
        with it is no error: see :class:`~twisted_smtpserver.message.parsed.ParsedMessage`.

        :param limit: as for :meth:`read`.
        :returns: a Deferred of :class:`~twisted_smtpserver.message.parsed.ParsedMessage`.
        """

    def prepend(octets):  # type: ignore[no-untyped-def]
        """
        Put octets, usually header fields, before the message. Call it before reading.

        A message that begins with a blank would go on with the last of the fields, and could so
        forge it: then there is an empty line between the two, which ends the header section.

        :param octets: ``bytes``, complete lines.
        :raises RuntimeError: if reading has begun.
        """


class IMetrics(Interface):
    """
    What counts what a server does: the option ``metrics``;
    :class:`~twisted_smtpserver.metrics.Metrics` is one.

    The methods are called often, and in the reactor's thread: they must be quick, wait for nothing
    and raise nothing. They get nothing that a client sent.
    """

    def connected():  # type: ignore[no-untyped-def]
        """A connection was accepted."""

    def disconnected(seconds):  # type: ignore[no-untyped-def]
        """
        A connection is gone.

        :param seconds: how long it lasted.
        """

    def connectionRefused(limit):  # type: ignore[no-untyped-def]
        """
        A connection was closed at once.

        :param limit: ``"maxClients"`` or ``"maxClientsPerAddress"``.
        """

    def secured(version):  # type: ignore[no-untyped-def]
        """
        A TLS handshake succeeded.

        :param version: ``"TLSv1.3"``, for example.
        """

    def handshakeFailed():  # type: ignore[no-untyped-def]
        """A TLS handshake failed, or never ended."""

    def loginEnded(result):  # type: ignore[no-untyped-def]
        """
        A login has a result.

        :param result: ``"success"``, ``"failure"``, or ``"error"`` if it couldn't be checked (4yz).
        """

    def messageStoring():  # type: ignore[no-untyped-def]
        """A message has come in whole, and waits for the handler's result."""

    def messageStored(seconds):  # type: ignore[no-untyped-def]
        """
        It has the result, whichever.

        :param seconds: how long it waited.
        """

    def messageEnded(outcome, octets, recipients):  # type: ignore[no-untyped-def]
        """
        A message that came in whole was answered.

        :param outcome: ``"accepted"`` for one recipient at least, ``"deferred"`` (4yz) or
            ``"refused"`` (5yz).
        :param octets: the length of its content.
        :param recipients: how many it was accepted for.
        """

    def replyLost():  # type: ignore[no-untyped-def]
        """A message was processed, but its client had left before it could be told."""

    def refused(code):  # type: ignore[no-untyped-def]
        """
        A refusal was sent.

        :param code: the reply code, as a number.
        """

    def refusedByPolicy(policy):  # type: ignore[no-untyped-def]
        """
        A hook raised a :class:`~twisted_smtpserver.Rejection` that names a policy.

        :param policy: its name.
        """

    def hookEnded(hook, seconds):  # type: ignore[no-untyped-def]
        """
        A hook has a result, whichever.

        :param hook: its name.
        :param seconds: how long it took.
        """

    def hookTimedOut(hook):  # type: ignore[no-untyped-def]
        """
        A hook took longer than ``handlerTimeout``.

        :param hook: its name, or that of something else that was waited for.
        """

    def incident(hook):  # type: ignore[no-untyped-def]
        """
        Something failed that shouldn't have.

        :param hook: the hook's name; empty if it wasn't in one.
        """


class ISharedState(Interface):
    """
    What several servers count together, for the policies and options that take a ``state``;
    :class:`~twisted_smtpserver.shared.RedisState` is one.

    Each method returns a coroutine and raises nothing. ``None`` says that it isn't known now: then
    each server counts by itself. A ``key`` stands for a client.
    """

    def count(key, seconds):  # type: ignore[no-untyped-def]
        """
        Count an event.

        :param key: what is counted, and whose.
        :param seconds: the count is forgotten so long after its first event.
        :returns: how many there were, this one included.
        """

    def greylist(key, delay, window, remember):  # type: ignore[no-untyped-def]
        """
        Ask whether a try is let in (RFC 6647).

        :param key: the client, the sender and the recipient.
        :param delay: how long it isn't, after the first try, in seconds.
        :param window: how long the first try is remembered, in seconds.
        :param remember: how long who was let in is remembered, in seconds.
        :returns: a ``bool``.
        """

    def loginFailed(key, username, seconds):  # type: ignore[no-untyped-def]
        """
        Count a failed login.

        :param key: the client.
        :param username: whom it claimed to be.
        :param seconds: the count is forgotten so long after its last event.
        :returns: how many there were, this one included.
        """

    def loginSucceeded(key, username):  # type: ignore[no-untyped-def]
        """Take back the client's last failed logins, as far as they were with this name."""

    def enter(key, limit):  # type: ignore[no-untyped-def]
        """
        Count an open connection, unless there are ``limit`` already.

        :returns: whether it was counted; then :meth:`leave` follows.
        """

    def leave(key):  # type: ignore[no-untyped-def]
        """A connection that was counted is gone."""


class IExtension(Interface):
    """
    An ESMTP extension (RFC 5321 §2.2): one object that says all the server needs to know of it.

    :class:`~twisted_smtpserver.extensions.Extension` has a default for each attribute.
    """

    keyword = Attribute("The EHLO keyword, in upper case.")
    mailParameters = Attribute(
        "Parameters it adds to MAIL: a mapping from keyword to a parser, a callable that takes the "
        "value as sent (``True`` without one) and returns the typed value, or raises Rejection "
        "(501 by default)."
    )
    rcptParameters = Attribute("Parameters it adds to RCPT, in the same form.")
    verbs = Attribute(
        "Commands it adds: a mapping from verb to a callable that takes the dialogue (IDialogue) "
        "and the command's argument in ``bytes``, and returns a Reply or a Deferred of one. If it "
        "has an attribute ``refused``, that is called with the refusal in addition when the server "
        "refuses the command before: BDAT needs it, whose octets come anyway."
    )

    def advertise(session):  # type: ignore[no-untyped-def]
        """
        Say what stands behind the keyword in the answer to EHLO.

        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: the parameters, ``""`` for none, ``None`` if it isn't offered now; then its
            parameters are refused, too. Its verbs have to see to that themselves.
        """

    def onMail(address, envelope, session):  # type: ignore[no-untyped-def]
        """
        All parameters of a MAIL were parsed; ``address.values`` has them.

        This is the place for what concerns several parameters, or the session, and for typed
        fields of the envelope. Called with every MAIL, before the handler's ``onMailFrom``.

        :returns: ``None``, or an :class:`~twisted_smtpserver.results.Accepted` with the words of
            the 250, unless the handler has its own.
        :raises Rejection: 501 by default.
        """

    def onRcpt(address, envelope, session):  # type: ignore[no-untyped-def]
        """
        Check the parameters of a RCPT in the same way; ``address`` isn't yet in
        ``envelope.rcptTo``.

        :raises Rejection: 501 by default.
        """


class IDialogue(Interface):
    """
    What a verb is given: the running conversation with one client.

    A verb returns an *outcome*: a :class:`~twisted_smtpserver.replies.Reply`; a list of them; a
    Deferred of either; or what one of the methods here returned. The extensions that come with the
    library use these names and no others.
    """

    session = Attribute("The :class:`~twisted_smtpserver.session.Session`.")
    options = Attribute("The server's :class:`~twisted_smtpserver.options.Options`.")
    phase = Attribute("Where the conversation stands, a :class:`~twisted_smtpserver.states.Phase`.")
    transfer = Attribute(
        "The message under way, a :class:`~twisted_smtpserver.message.transfer.MessageTransfer`, or"
        " ``None``."
    )
    failedLogins = Attribute("How many logins failed in this session.")

    def hook(name):  # type: ignore[no-untyped-def]
        """
        :param name: the name of one of the handler's hooks.
        :returns: the hook; ``None`` if the handler has none.
        """

    def ask(hook, arguments, accepted, failed=None):  # type: ignore[no-untyped-def]
        """
        Call a hook of the user's handler.

        :param hook: its name.
        :param arguments: a tuple.
        :param accepted: called with the hook's result (``None`` where there is no such hook) if it
            didn't refuse; returns the outcome.
        :param failed: called with the exception if it did, or failed; returns the outcome. By
            default that is the refusal's reply, or for a bug 451 with an incident id.
        :returns: an outcome.
        """

    def refuse(error, stage):  # type: ignore[no-untyped-def]
        """
        The reply for what a hook raised; a bug is logged.

        :param error: the exception.
        :param stage: the hook's name.
        :returns: a Reply.
        """

    def move(event):  # type: ignore[no-untyped-def]
        """
        Change the phase, as :data:`twisted_smtpserver.states.TRANSITIONS` has it.

        :param event: a :class:`~twisted_smtpserver.states.Event`.
        """

    def takeLine(taker):  # type: ignore[no-untyped-def]
        """
        The next line isn't a command, but the answer to a challenge (334), as AUTH has them.

        :param taker: called with it, ``bytes`` without CRLF; returns an outcome.
        """

    def receiveOctets(count, sink, done):  # type: ignore[no-untyped-def]
        """
        Take this many octets as they are, as BDAT does (RFC 3030 §2).

        :param count: how many. Bound it: the client names it.
        :param sink: called with them as they come.
        :param done: called after the last one; returns an outcome.
        :returns: the outcome for the verb to return.
        """

    def later(seconds, outcome):  # type: ignore[no-untyped-def]
        """
        :param seconds: how long the client is to wait; no longer than ``handlerTimeout``.
        :param outcome: what comes then.
        :returns: an outcome.
        """

    def runInThread(function):  # type: ignore[no-untyped-def]
        """
        :param function: called in a thread.
        :returns: a Deferred of its result.
        """

    def seconds():  # type: ignore[no-untyped-def]
        """The time of the server's clock."""

    def countJunk(reply):  # type: ignore[no-untyped-def]
        """
        One more command that brought no message further; ``maxJunkCommands`` bounds them.

        :param reply: its answer.
        :returns: that, or 421 if there were too many since the last message.
        """

    def closeAfterReply(reason):  # type: ignore[no-untyped-def]
        """
        The next reply is the last.

        :param reason: why, for the session's line in the log.
        """

    def startTLS():  # type: ignore[no-untyped-def]
        """
        Say 220 and begin a TLS handshake (RFC 3207 §4).

        :returns: the outcome: a refusal if octets wait behind the command.
        """

    def startOver(claim, admitted):  # type: ignore[no-untyped-def]
        """
        Forget hello, login and transaction, and call ``onConnect`` again, as XCLIENT does.

        :param claim: called first, without arguments; writes what is claimed to the session.
        :param admitted: called with the result of ``onConnect`` if that didn't refuse; returns an
            outcome, :meth:`greeting` for example.
        :returns: an outcome.
        """

    def greeting():  # type: ignore[no-untyped-def]
        """The 220 that every client is greeted with."""

    def channelBinding():  # type: ignore[no-untyped-def]
        """What a login can be bound to (RFC 9266), ``bytes``; ``None`` without TLS 1.3."""

    def loginFailed(method, username, isGuess=True):  # type: ignore[no-untyped-def]
        """
        A login was refused: log it, and count it.

        :param method: how it was tried.
        :param username: who it was said to be.
        :param isGuess: whether it may have been a guess, and counts.
        :returns: how much later than others to answer, in seconds, or a Deferred of that.
        """

    def loginUndecided():  # type: ignore[no-untyped-def]
        """A login could be neither accepted nor refused (4yz): it is counted as such."""

    def loginSucceeded(username):  # type: ignore[no-untyped-def]
        """
        A login was accepted: what the user mistyped before doesn't count.

        :param username: who it is.
        """
