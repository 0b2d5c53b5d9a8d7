//! Replicas that end and are started anew, program and proxy together, under load.

use crate::lab::{Lab, Running, lines, wait_until};

/// How often all replicas are replaced.
const ROUNDS: usize = 7;

const NAMES: [&str; 3] = ["cart-1", "cart-2", "cart-3"];

/// Answers each request after a moment, writes down its number, and ends at once when it is told
/// to: it knows nothing of an orderly end.
const SERVER: &str = "import http.server as h, os, time
class Handler(h.BaseHTTPRequestHandler):
\tprotocol_version = 'HTTP/1.1'
\tdef do_POST(self):
\t\tself.rfile.read(int(self.headers['content-length']))
\t\tos.write(executed, (self.headers['x-number'] + chr(10)).encode())
\t\ttime.sleep(0.01)
\t\tself.send_response(200)
\t\tself.send_header('content-length', '0')
\t\tself.end_headers()
\tdef log_message(self, *_):
\t\tpass
executed = os.open('executed', os.O_WRONLY | os.O_APPEND)
server = h.ThreadingHTTPServer(('', 8000), Handler)
print('listening', flush=True)
server.serve_forever()
";

/// Twenty callers, each 25 times a second on one connection that is kept: 500 requests a second in
/// all, none of which may be sent twice. They end once the file `enough` is there.
const CLIENT: &str = "import http.client, os, threading, time
failures, sent = [], [0] * 20
def call(caller):
\tconnection = http.client.HTTPConnection('cart', timeout=20)
\tdue = time.monotonic()
\twhile not os.path.exists('enough') and len(failures) < 20:
\t\tdue += 0.04
\t\ttime.sleep(max(0, due - time.monotonic()))
\t\tnumber = f'{caller}-{sent[caller]}'
\t\tsent[caller] += 1
\t\ttry:
\t\t\tconnection.request('POST', '/', b'x' * 2000, {'x-number': number})
\t\t\tanswer = connection.getresponse()
\t\t\tbody = answer.read()
\t\t\tif answer.status != 200:
\t\t\t\tfailures.append(f'{number}: {answer.status} {body}')
\t\texcept Exception as error:
\t\t\tfailures.append(f'{number}: {error!r}')
\t\t\tconnection.close()
callers = [threading.Thread(target=call, args=(caller,)) for caller in range(20)]
for caller in callers: caller.start()
for caller in callers: caller.join()
print('sent', sum(sent), 'failed', len(failures), *failures, sep=chr(10))
";

fn start(lab: &Lab, name: &str) -> Running {
    let options = ["--service", "cart", "--port", "80:8000/http", "--name", name];
    let mut command = lab.confined("cart", &options);
    command.args(["python3", "server.py"]);
    let server = lab.start(name, command);
    server.wait_for("listening");
    server
}

#[test]
fn programs_that_end_at_once_lose_nothing() {
    let lab = Lab::new();
    lab.file("server.py", SERVER);
    lab.file("client.py", CLIENT);
    let executed = lab.file("executed", "");
    let mut servers = NAMES.map(|name| start(&lab, name));
    let mut command = lab.client("web");
    command.args(["python3", "client.py"]);
    let mut client = lab.start("client", command);
    let served = |server: &Running| lines(&server.log(), &["status=200"]).len();
    for _ in 0..ROUNDS {
        for (server, name) in servers.iter_mut().zip(NAMES) {
            wait_until("it is called", || served(server) > 20 || !client.output().is_empty());
            server.signal("TERM");
            server.end();
            *server = start(&lab, name);
        }
    }
    lab.file("enough", "");
    client.end();
    let said = client.output();
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said[2..], ["failed", "0"], "{said:#?}");
    let executed = std::fs::read_to_string(executed).unwrap();
    let mut numbers: Vec<_> = executed.lines().collect();
    assert_eq!(numbers.len().to_string(), said[1], "each was executed once");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len().to_string(), said[1], "none was executed again");
}
