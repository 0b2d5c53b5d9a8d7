//! What `weft run` is told: as it is written, and as it may be relied on.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use weft_control::api::{RegisteredPort, RegisteredProtocol};
use weft_identity::JoinToken;
use weft_model::{Cidr, ObjectName, Port};
use weft_world::Files;

use crate::proxy::Log;

/// The arguments of `weft run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A Service that the command serves, as NAME or NAMESPACE/NAME; may be repeated.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,

    /// A port that the command listens on, as PORT, SERVICE_PORT:PORT, or with what is spoken
    /// there, as 80:8080/http (http, http2, grpc, tcp, tls; without it the first bytes tell); may
    /// be repeated.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<String>,

    /// The namespace of names that name none.
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,

    /// The service account whose identity the command gets. Default: that of the first service's
    /// name.
    #[arg(long, value_name = "ACCOUNT")]
    service_account: Option<String>,

    /// The name of this workload. Default: the service account's with a random ending, which the
    /// next run without a name takes over once this one has ended.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The file with the join token.
    #[arg(long, value_name = "FILE", env = "WEFT_TOKEN_FILE")]
    token: PathBuf,

    /// Where the certificate and what is known of the mesh are kept. Default: a directory of the
    /// workload's in $XDG_STATE_HOME/weft or ~/.local/state/weft.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,

    /// The address at which the proxies of others reach this one.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,

    /// The port there. Default: a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    tunnel_port: u16,

    /// Where this runs, as REGION or REGION/ZONE: what is near is called rather than what is not.
    #[arg(long, value_name = "PLACE")]
    locality: Option<String>,

    /// A port of the command that is reached from outside of the mesh, without encryption and
    /// without policies, as PORT, OUTSIDE:PORT or IP:OUTSIDE:PORT; may be repeated.
    #[arg(long, value_name = "PORT")]
    publish: Vec<String>,

    /// A port to which connections pass outside of the mesh; may be repeated.
    #[arg(long = "exclude-port", value_name = "PORT")]
    exclude_ports: Vec<u16>,

    /// A block of addresses to which connections pass outside of the mesh; may be repeated.
    #[arg(long = "exclude-cidr", value_name = "CIDR")]
    exclude_cidrs: Vec<String>,

    /// Where metrics (`/metrics`) and readiness (`/ready`) are shown.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,

    #[command(flatten)]
    log: Log,

    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The arguments as they may be relied on.
pub(super) struct Checked {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) token: JoinToken,
    pub(super) service_account: ObjectName,
    pub(super) services: Vec<ObjectName>,
    /// The name of the workload, if one was given.
    pub(super) name: Option<ObjectName>,
    pub(super) ports: Vec<RegisteredPort>,
    pub(super) data: Data,
    pub(super) tunnels: SocketAddr,
    /// The region, and the zone in it.
    pub(super) locality: (Option<String>, Option<String>),
    pub(super) publish: Vec<Publish>,
    pub(super) exclude_ports: Vec<Port>,
    pub(super) exclude_cidrs: Vec<Cidr>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) log: Log,
}

/// Where a run keeps what it knows.
pub(super) enum Data {
    /// In this directory.
    Given(PathBuf),
    /// In one of its own, in this directory.
    Below(PathBuf),
}

/// A port of the command that is reached from outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) listen: SocketAddr,
    pub(super) application: SocketAddr,
}

/// Checks `arguments`, and reads the token.
pub(super) fn check(files: &dyn Files, arguments: &Arguments) -> anyhow::Result<Checked> {
    let (program, rest) = arguments.command.split_first().context("a command is needed")?;
    let object = |text: &str| object(&arguments.namespace, text);
    let services: Vec<ObjectName> = each("--service", &arguments.services, |text| object(text))?;
    let service_account = match (&arguments.service_account, services.first()) {
        (Some(account), _) => object(account).context("--service-account")?,
        (None, Some(service)) => service.clone(),
        (None, None) => bail!("--service or --service-account is needed: who is the command?"),
    };
    let ports = each("--port", &arguments.ports, |text| registered_port(text))?;
    check_unique(&ports).context("--port")?;
    ensure!(
        services.is_empty() || !ports.is_empty(),
        "--port is needed with --service: on which port does the command listen?"
    );
    let name = arguments.name.as_deref();
    let name = name.map(|name| self::object(service_account.namespace(), name));
    let name = name.transpose().context("--name")?;
    let text = crate::proxy::read(files, &arguments.token)?;
    let text = std::str::from_utf8(&text).unwrap_or_default().trim();
    let token = JoinToken::parse(text)
        .with_context(|| format!("--token: {}", arguments.token.display()))?;
    let data = match &arguments.data {
        Some(data) => Data::Given(data.clone()),
        None => Data::Below(state_home()?.join("weft")),
    };
    ensure!(
        !arguments.address.is_unspecified(),
        "--address: others must reach this proxy there, and nobody reaches {}",
        arguments.address
    );
    Ok(Checked {
        program: program.clone(),
        arguments: rest.to_vec(),
        token,
        service_account,
        services,
        name,
        ports,
        data,
        tunnels: SocketAddr::new(arguments.address, arguments.tunnel_port),
        locality: arguments.locality.as_deref().map(locality).unwrap_or_default(),
        publish: each("--publish", &arguments.publish, |text| publish(text))?,
        exclude_ports: each("--exclude-port", &arguments.exclude_ports, |port| {
            Ok(Port::new(*port)?)
        })?,
        exclude_cidrs: each("--exclude-cidr", &arguments.exclude_cidrs, |text| cidr(text))?,
        metrics: arguments.metrics,
        log: arguments.log,
    })
}

fn each<R, C>(
    name: &str,
    list: &[R],
    check: impl Fn(&R) -> anyhow::Result<C>,
) -> anyhow::Result<Vec<C>> {
    list.iter().map(|raw| check(raw).context(name.to_owned())).collect()
}

fn object(namespace: &str, text: &str) -> anyhow::Result<ObjectName> {
    match text.contains('/') {
        true => Ok(text.parse()?),
        false => Ok(ObjectName::new(namespace, text)?),
    }
}

/// `[SERVICE_PORT:]PORT[/PROTOCOL]`.
fn registered_port(text: &str) -> anyhow::Result<RegisteredPort> {
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, protocol)) => (numbers, Some(spoken(protocol)?)),
        None => (text, None),
    };
    let (service_port, port) = match numbers.split_once(':') {
        Some((service_port, port)) => (Some(number(service_port)?), number(port)?),
        None => (None, number(numbers)?),
    };
    Ok(RegisteredPort { port, service_port, protocol })
}

/// Whether each port is there once: with another it would not be registered.
fn check_unique(ports: &[RegisteredPort]) -> anyhow::Result<()> {
    let (mut own, mut of_services) = (BTreeSet::new(), BTreeSet::new());
    for RegisteredPort { port, service_port, .. } in ports {
        ensure!(own.insert(port), "port {port} of the command is there twice");
        let service_port = service_port.as_ref().unwrap_or(port);
        ensure!(
            of_services.insert(service_port),
            "port {service_port} of the Service is there twice, and leads to one port only"
        );
    }
    Ok(())
}

fn spoken(text: &str) -> anyhow::Result<RegisteredProtocol> {
    Ok(match text {
        "http" => RegisteredProtocol::Http,
        "http2" => RegisteredProtocol::Http2,
        "grpc" => RegisteredProtocol::Grpc,
        "tcp" => RegisteredProtocol::Tcp,
        "tls" => RegisteredProtocol::Tls,
        _ => bail!("`{text}` is none of http, http2, grpc, tcp, tls"),
    })
}

fn number(text: &str) -> anyhow::Result<u16> {
    let number = u16::from_str(text).ok().filter(|number| *number > 0);
    number.with_context(|| format!("`{text}` is not a port: 1 to 65535"))
}

/// `[[IP:]OUTSIDE:]PORT`; an IPv6 address stands in brackets.
fn publish(text: &str) -> anyhow::Result<Publish> {
    let (before, port) = match text.rsplit_once(':') {
        Some((before, port)) => (Some(before), number(port)?),
        None => (None, number(text)?),
    };
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listen = match before {
        None => SocketAddr::new(localhost, port),
        Some(outside) => match number(outside) {
            Ok(outside) => SocketAddr::new(localhost, outside),
            Err(_) => outside
                .parse()
                .with_context(|| format!("`{outside}` is neither a port nor IP:PORT"))?,
        },
    };
    Ok(Publish { listen, application: SocketAddr::new(localhost, port) })
}

/// `REGION[/ZONE]`. Whether these are names is the control plane's to say.
fn locality(text: &str) -> (Option<String>, Option<String>) {
    match text.split_once('/') {
        Some((region, zone)) => (Some(region.to_owned()), Some(zone.to_owned())),
        None => (Some(text.to_owned()), None),
    }
}

fn cidr(text: &str) -> anyhow::Result<Cidr> {
    let parsed = || {
        let (first, prefix) = text.split_once('/')?;
        Some((first.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?))
    };
    let (first, prefix) = parsed().with_context(|| format!("`{text}` is not IP/PREFIX"))?;
    Ok(Cidr::new(first, prefix)?)
}

/// Where programs keep what they know, after the XDG Base Directory Specification.
fn state_home() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| {
        let found = std::env::var_os(name).map(PathBuf::from);
        found.filter(|path| path.is_absolute())
    };
    if let Some(path) = absolute("XDG_STATE_HOME") {
        return Ok(path);
    }
    let home =
        absolute("HOME").context("--data is needed: neither XDG_STATE_HOME nor HOME is set")?;
    Ok(home.join(Path::new(".local/state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let port = |text: &str| registered_port(text).map_err(|error| format!("{error:#}"));
        let read =
            |port, service_port, protocol| Ok(RegisteredPort { port, service_port, protocol });
        assert_eq!(port("8080"), read(8080, None, None));
        assert_eq!(port("80:8080"), read(8080, Some(80), None));
        assert_eq!(port("80:50051/grpc"), read(50051, Some(80), Some(RegisteredProtocol::Grpc)));
        for wrong in ["0", "x", "80:", ":80", "80/udp", "65536", "80:80:80"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_there_once() {
        let unique = |texts: &[&str]| {
            let ports: Vec<_> = texts.iter().map(|text| registered_port(text).unwrap()).collect();
            check_unique(&ports).map_err(|error| error.to_string())
        };
        assert_eq!(unique(&["80:8080", "81:8081", "8082/http"]), Ok(()));
        for twice in [["80", "80"], ["80:80", "81:80/http"]] {
            assert_eq!(unique(&twice), Err("port 80 of the command is there twice".to_owned()));
        }
        let error = unique(&["80:8080", "80:8081"]).unwrap_err();
        assert!(error.starts_with("port 80 of the Service is there twice"), "{error}");
        assert!(unique(&["80", "80:8081"]).is_err());
    }

    #[test]
    fn published_ports_are_read() {
        let read = |text: &str| {
            let publish = publish(text).ok()?;
            Some((publish.listen.to_string(), publish.application.to_string()))
        };
        let both = |listen: &str, port| Some((listen.to_owned(), format!("127.0.0.1:{port}")));
        assert_eq!(read("8080"), both("127.0.0.1:8080", 8080));
        assert_eq!(read("80:8080"), both("127.0.0.1:80", 8080));
        assert_eq!(read("0.0.0.0:80:8080"), both("0.0.0.0:80", 8080));
        assert_eq!(read("[::1]:80:8080"), both("[::1]:80", 8080));
        for wrong in ["", "0", "a:80", "80:", "::1:80:80"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn blocks_are_read() {
        assert!(cidr("10.0.0.0/8").is_ok() && cidr("fd00::/8").is_ok());
        assert!(cidr("10.0.0.1/8").is_err() && cidr("10.0.0.0").is_err());
    }
}
