//! A phone by hand: whole SIP messages over UDP, TCP, TLS or WebSocket, sent and looked at one by
//! one. For what real phones do too seldom to be waited for.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use cheling_sip::digest::{Challenge, ha1};
use cheling_sip::framing::{Frame, Framer};
use cheling_sip::sdp::{Direction, LocalMedia, Origin, Sdp, rewrite::basic_formats};
use cheling_sip::via::host_text;
use cheling_sip::{Message, Method, Name, NameAddr, Request, Response, Uri};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::within;

/// The largest datagram.
const BUFFER_BYTES: usize = 65_536;

/// One end of a way to Cheling.
pub struct Wire {
    carrier: Carrier,
    /// The token in our Via.
    transport: &'static str,
    local: SocketAddr,
    remote: SocketAddr,
    /// Read and not asked for yet.
    waiting: VecDeque<Message>,
    seen: HashSet<String>,
    /// Answers to our keep-alives so far.
    pub pongs: usize,
    requests: u32,
}

enum Carrier {
    Datagrams(UdpSocket),
    Stream {
        reader: Box<dyn AsyncRead + Unpin + Send>,
        writer: Box<dyn AsyncWrite + Unpin + Send>,
        framer: Framer,
        /// Under which the stream runs; ends with it.
        _tunnel: Option<Box<Child>>,
    },
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

/// What came.
enum Came {
    Message(Box<Message>),
    Pong,
    End,
}

impl Wire {
    fn over(carrier: Carrier, transport: &'static str, ends: (SocketAddr, SocketAddr)) -> Self {
        let (local, remote) = ends;
        let (waiting, seen) = (VecDeque::new(), HashSet::new());
        Self { carrier, transport, local, remote, waiting, seen, pongs: 0, requests: 0 }
    }

    /// Datagrams between these two.
    ///
    /// # Panics
    /// If the address is taken.
    pub async fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        let socket = UdpSocket::bind(local).await.unwrap();
        // The largest there are, some at a time.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        let local = socket.local_addr().unwrap();
        Self::over(Carrier::Datagrams(socket), "UDP", (local, remote))
    }

    /// A connection.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn tcp(remote: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(remote)).await.unwrap();
        Self::accepted(stream)
    }

    /// A connection from an address of ours.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn tcp_from(local: SocketAddr, remote: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(local).unwrap();
        Self::accepted(within("a connection", socket.connect(remote)).await.unwrap())
    }

    /// The next connection to us.
    ///
    /// # Panics
    /// If none comes.
    pub async fn from(listener: &TcpListener) -> Self {
        let (stream, _) = within("a connection to us", listener.accept()).await.unwrap();
        Self::accepted(stream)
    }

    fn accepted(stream: TcpStream) -> Self {
        let ends = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let (reader, writer) = stream.into_split();
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        let carrier = Carrier::Stream { reader, writer, framer: Framer::default(), _tunnel: None };
        Self::over(carrier, "TCP", ends)
    }

    /// A connection under TLS, by openssl, to whoever shows a certificate of this file.
    ///
    /// # Panics
    /// If openssl does not start.
    pub async fn tls(remote: SocketAddr, certificate: &Path) -> Self {
        Self::tls_with(remote, certificate, &[]).await
    }

    /// The same with more arguments of `openssl s_client`.
    ///
    /// # Panics
    /// See [`Wire::tls`].
    pub async fn tls_with(remote: SocketAddr, certificate: &Path, more: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-CAfile"]).arg(certificate);
        command.args(["-connect", &remote.to_string()]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn();
        let mut child = child.expect("openssl; scripts/bootstrap test installs it");
        let reader = Box::new(child.stdout.take().expect("piped"));
        let writer = Box::new(child.stdin.take().expect("piped"));
        let carrier = Carrier::Stream {
            reader,
            writer,
            framer: Framer::default(),
            _tunnel: Some(Box::new(child)),
        };
        // Nobody looks at the port: what is asked comes back by the connection.
        Self::over(carrier, "TLS", (SocketAddr::new(remote.ip(), 5061), remote))
    }

    /// A WebSocket (RFC 7118).
    ///
    /// # Panics
    /// If the handshake fails.
    pub async fn web_socket(remote: SocketAddr) -> Self {
        let mut request = format!("ws://{remote}/").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        let connecting = tokio_tungstenite::connect_async(request);
        let (socket, _) = within("a WebSocket", connecting).await.expect("a handshake");
        let local = SocketAddr::new(remote.ip(), 5060);
        Self::over(Carrier::WebSocket(Box::new(socket)), "WS", (local, remote))
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// What stands behind our Contacts, so that we are called back by this way.
    fn parameter(&self) -> String {
        match self.transport {
            "UDP" => String::new(),
            other => format!(";transport={}", other.to_ascii_lowercase()),
        }
    }

    /// Our Contact, with these parameters behind it.
    pub fn contact(&self, user: &str, more: &str) -> String {
        format!("<sip:{user}@{}{}>{more}", self.local, self.parameter())
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, octets: &[u8]) {
        let sent = async {
            match &mut self.carrier {
                Carrier::Datagrams(socket) => {
                    socket.send_to(octets, self.remote).await.expect("sent");
                }
                Carrier::Stream { writer, .. } => {
                    // Whoever hung up need not hear us.
                    let _ = writer.write_all(octets).await;
                    let _ = writer.flush().await;
                }
                Carrier::WebSocket(socket) => {
                    let text = String::from_utf8_lossy(octets).into_owned();
                    let _ = socket.send(tungstenite::Message::Text(text.into())).await;
                }
            }
        };
        within("room to send", sent).await;
    }

    async fn read(&mut self) -> Came {
        match &mut self.carrier {
            Carrier::Datagrams(socket) => {
                let mut buffer = vec![0; BUFFER_BYTES];
                loop {
                    let Ok(length) = socket.recv(&mut buffer).await else { continue };
                    if let Ok(message) = Message::parse(&buffer[..length]) {
                        return Came::Message(Box::new(message));
                    }
                }
            }
            Carrier::Stream { reader, framer, .. } => loop {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(bytes))) => {
                        return Came::Message(Box::new(Message::parse(&bytes).expect("a message")));
                    }
                    // Two answers in a row look like a question, and nobody asks us.
                    Ok(Some(Frame::Pong | Frame::Ping)) => return Came::Pong,
                    Ok(None) => {}
                    Err(err) => panic!("no SIP: {err}"),
                }
                let mut buffer = vec![0; BUFFER_BYTES];
                match reader.read(&mut buffer).await {
                    Ok(length) if length > 0 => framer.push(&buffer[..length]),
                    _ => return Came::End,
                }
            },
            Carrier::WebSocket(socket) => loop {
                let message = match socket.next().await {
                    Some(Ok(tungstenite::Message::Text(text))) => Message::parse(text.as_bytes()),
                    Some(Ok(tungstenite::Message::Binary(bytes))) => Message::parse(&bytes),
                    Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return Came::End,
                    Some(Ok(_)) => continue,
                };
                return Came::Message(Box::new(message.expect("a message")));
            },
        }
    }

    /// The next message that `is_meant`; what comes before it waits. What is merely repeated is
    /// passed over.
    async fn next(&mut self, what: &str, is_meant: impl Fn(&Message) -> bool) -> Message {
        if let Some(at) = self.waiting.iter().position(&is_meant) {
            return self.waiting.remove(at).expect("found");
        }
        loop {
            match within(what, self.read()).await {
                Came::Pong => self.pongs += 1,
                Came::End => panic!("the connection ended before {what}"),
                Came::Message(message) => {
                    if !self.is_new(&message) {
                        continue;
                    }
                    if is_meant(&message) {
                        return *message;
                    }
                    self.waiting.push_back(*message);
                }
            }
        }
    }

    /// Whether it has not come before.
    fn is_new(&mut self, message: &Message) -> bool {
        let headers = message.headers();
        let (via, cseq) = (headers.get(Name::Via), headers.get(Name::CSeq));
        let status = match message {
            Message::Request(_) => 0,
            Message::Response(response) => response.status,
        };
        let to = headers.get(Name::To);
        self.seen.insert(format!("{status} {via:?} {cseq:?} {to:?}"))
    }

    /// The next request of this method; others wait.
    pub async fn request(&mut self, method: Method) -> Request {
        let what = format!("a request: {method}");
        self.request_that(&what, |request| request.method == method).await
    }

    /// The next request, whatever it is.
    pub async fn any_request(&mut self) -> Request {
        self.request_that("a request", |_| true).await
    }

    async fn request_that(&mut self, what: &str, is_meant: impl Fn(&Request) -> bool) -> Request {
        let is_meant = |it: &Message| matches!(it, Message::Request(request) if is_meant(request));
        match self.next(what, is_meant).await {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!("asked for a request"),
        }
    }

    /// The next response to requests of this method, 100 passed over; others wait.
    pub async fn response(&mut self, method: &Method) -> Response {
        let what = format!("a response to {method}");
        let is_meant = |it: &Message| {
            let Message::Response(response) = it else { return false };
            let cseq = response.headers.cseq();
            response.status > 100 && cseq.is_some_and(|cseq| cseq.method == *method)
        };
        match self.next(&what, is_meant).await {
            Message::Response(response) => response,
            Message::Request(_) => unreachable!("asked for a response"),
        }
    }

    /// Whether nothing has come and the way still stands, as far as is known now.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until the other side has ended the connection; messages before that are kept.
    pub async fn ends(&mut self) {
        loop {
            match within("the connection's end", self.read()).await {
                Came::Pong => self.pongs += 1,
                Came::End => return,
                Came::Message(message) => self.waiting.push_back(*message),
            }
        }
    }

    /// Sends the keep-alive of RFC 5626 §3.5.1 and waits for its answer.
    pub async fn ping(&mut self) {
        let before = self.pongs;
        self.send(b"\r\n\r\n").await;
        while self.pongs == before {
            match within("a pong", self.read()).await {
                Came::Pong => self.pongs += 1,
                Came::End => panic!("the connection ended before a pong"),
                Came::Message(message) => self.waiting.push_back(*message),
            }
        }
    }

    /// A new request, its Via and Contact ours, not sent yet.
    pub fn new_request(&mut self, method: Method, user: &str, uri: &str) -> Request {
        self.requests += 1;
        let number = self.requests;
        let host = host_text(self.remote.ip());
        let own = NameAddr::parse(&format!("<sip:{user}@{host}>")).unwrap();
        let target = Uri::parse(uri).unwrap();
        let to = match method {
            Method::Register => own.clone(),
            _ => NameAddr::new(target.clone()),
        };
        let from = own.with_tag(&format!("{user}-{number}"));
        let call_id = format!("{user}-{number}-{}", self.local.port());
        let mut request = Request::outside_dialog(method, target, &from, &to, &call_id, 1);
        self.number(&mut request, 1);
        request.headers.push(Name::Contact, self.contact(user, ""));
        request
    }

    /// Gives a request a new Via of ours and this CSeq.
    pub fn number(&mut self, request: &mut Request, cseq: u32) {
        self.requests += 1;
        let (transport, local, number) = (self.transport, self.local, self.requests);
        let method = &request.method;
        let via = format!(
            "SIP/2.0/{transport} {local};branch=z9hG4bK{method}{number}p{};rport",
            local.port()
        );
        request.headers.remove(Name::Via);
        request.headers.insert_front(Name::Via, via);
        request.headers.set(Name::CSeq, format!("{cseq} {method}"));
    }

    /// Sends a request as it is; no answer is waited for.
    pub async fn say(&mut self, request: &Request) {
        self.send(&request.to_bytes()).await;
    }

    /// Sends a request, proves the password when asked to, acknowledges refusals of INVITE; the
    /// request as it was sent last, and the first response to that above 100.
    pub async fn ask(&mut self, mut request: Request, password: &str) -> (Request, Response) {
        for cseq in 1.. {
            self.say(&request).await;
            let response = self.response(&request.method.clone()).await;
            if request.method == Method::Invite && response.status >= 300 {
                self.acknowledge(&request, &response).await;
            }
            let asked = match response.status {
                401 => (Name::WwwAuthenticate, Name::Authorization),
                407 => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
                _ => return (request, response),
            };
            if cseq > 2 {
                return (request, response);
            }
            self.number(&mut request, cseq + 1);
            prove(&mut request, &response, asked, password);
        }
        unreachable!("ends by returning")
    }

    /// Acknowledges a refusal of an INVITE.
    pub async fn acknowledge(&mut self, invite: &Request, response: &Response) {
        let mut ack = Request::new(Method::Ack, invite.uri.clone());
        ack.headers.copy_from(&invite.headers, Name::Via);
        ack.headers.push(Name::MaxForwards, 70);
        ack.headers.copy_from(&invite.headers, Name::From);
        ack.headers.copy_from(&response.headers, Name::To);
        ack.headers.copy_from(&invite.headers, Name::CallId);
        let cseq = invite.headers.cseq().expect("a CSeq").number;
        ack.headers.push(Name::CSeq, format!("{cseq} ACK"));
        self.say(&ack).await;
    }

    /// Registers this user with its usual password, these parameters behind our Contact, and these
    /// headers; the answer.
    pub async fn register(
        &mut self,
        user: &str,
        parameters: &str,
        more: &[(&str, &str)],
    ) -> Response {
        let registrar = format!("sip:{}", host_text(self.remote.ip()));
        let mut request = self.new_request(Method::Register, user, &registrar);
        request.headers.set(Name::Contact, self.contact(user, parameters));
        for (name, value) in more {
            request.headers.push(*name, value);
        }
        self.ask(request, &crate::cheling::secret(user)).await.1
    }

    /// An INVITE with an ordinary offer.
    pub fn new_call(&mut self, user: &str, uri: &str) -> Request {
        let mut invite = self.new_request(Method::Invite, user, uri);
        invite.set_body("application/sdp", self.offer().to_bytes());
        invite
    }

    /// A description of media that nobody sends.
    pub fn offer(&self) -> Sdp {
        let address = self.local.ip();
        let local = LocalMedia { address, rtp_port: 9, rtcp_port: 10 };
        Sdp::offer(&Origin::new(7, address), local, &basic_formats())
    }

    /// Answers a request to us; a 2xx to INVITE accepts with an ordinary description.
    pub async fn answer(
        &mut self,
        request: &Request,
        status: u16,
        fill: impl FnOnce(&mut Response),
    ) {
        let tag = format!("t{}", self.local.port());
        let tag = (status > 100 && !request.is_in_dialog()).then_some(tag);
        let mut response = Response::to(request, status, "", tag.as_deref());
        let offer = Sdp::parse(&request.body).ok().and_then(|offer| offer.audio());
        let is_answer = request.method == Method::Invite || offer.is_some();
        if is_answer && response.is_success() {
            let user = request.uri.user().unwrap_or("wire").to_owned();
            response.headers.push(Name::Contact, self.contact(&user, ""));
            let mut answer = self.offer();
            answer.set_direction(match offer.map(|offer| offer.direction) {
                Some(Direction::SendOnly) => Direction::RecvOnly,
                Some(Direction::RecvOnly) => Direction::SendOnly,
                Some(Direction::Inactive) => Direction::Inactive,
                Some(Direction::SendRecv) | None => Direction::SendRecv,
            });
            response.set_body("application/sdp", answer.to_bytes());
        }
        fill(&mut response);
        self.send(&response.to_bytes()).await;
    }

    /// The next request of the dialog that a 2xx to our INVITE made, with this CSeq.
    pub fn within_dialog(
        &mut self,
        invite: &Request,
        answer: &Response,
        method: Method,
        cseq: u32,
    ) -> Request {
        let target = answer.headers.contact().expect("a Contact").uri;
        let mut request = Request::new(method, target);
        for proxy in answer.headers.record_route().into_iter().rev() {
            request.headers.push(Name::Route, proxy);
        }
        request.headers.push(Name::MaxForwards, 70);
        request.headers.copy_from(&invite.headers, Name::From);
        request.headers.copy_from(&answer.headers, Name::To);
        request.headers.copy_from(&invite.headers, Name::CallId);
        self.number(&mut request, cseq);
        request
    }

    /// The next request of the dialog that our 2xx to this INVITE made, with this CSeq.
    pub fn within_dialog_of(&mut self, invite: &Request, method: Method, cseq: u32) -> Request {
        let target = invite.headers.contact().expect("a Contact").uri;
        let headers = &invite.headers;
        let tag = format!("t{}", self.local.port());
        let own = headers.to().expect("To").with_tag(&tag);
        let (theirs, call_id) = (headers.from().expect("From"), headers.call_id());
        let call_id = call_id.expect("a Call-ID");
        let mut request = Request::outside_dialog(method, target, &own, &theirs, &call_id, cseq);
        for proxy in headers.record_route() {
            request.headers.push(Name::Route, proxy);
        }
        self.number(&mut request, cseq);
        request
    }
}

/// Answers a challenge.
fn prove(request: &mut Request, response: &Response, asked: (Name, Name), password: &str) {
    let (challenge, proof) = asked;
    let value = response.headers.get(challenge).expect("a challenge");
    let challenge = Challenge::parse(&value).expect("a challenge");
    let user = request.headers.from().and_then(|from| from.uri.user().map(str::to_owned));
    let user = user.expect("a user");
    let key = ha1(challenge.algorithm, &user, &challenge.realm, password);
    let (method, uri) = (request.method.to_string(), request.uri.to_string());
    request.headers.set(proof, challenge.answer(&user, &key, &method, &uri, "c", 1));
}
