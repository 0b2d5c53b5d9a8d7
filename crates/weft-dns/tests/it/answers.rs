//! What is answered, and what is handed on.

use weft_dns::{Answer, Response, Transport, respond};

use crate::{
    A, AAAA, NS, Reply, SRV, VIP, VIP6, forwarded, lookup, query, reply, with_edns, zones,
};

const SOA: u16 = 6;
const OPT: u16 = 41;

#[test]
fn every_spelling_of_a_service_is_answered() {
    for name in [
        "cart",
        "cart.shop",
        "cart.shop.svc",
        "cart.shop.svc.cluster.local",
        "CART.Shop.SVC.cluster.LOCAL",
    ] {
        let reply4 = reply(&query(name, A));
        assert_eq!(reply4.addresses(), [&VIP.octets()[..]], "{name}");
        assert_eq!(reply4.records[0].1, 30);
        // A response, authoritative, recursion desired and available.
        assert_eq!(reply4.flags, 0x8580);
        assert_eq!(reply(&query(name, AAAA)).addresses(), [&VIP6.octets()[..]], "{name}");
    }
}

#[test]
fn the_question_is_repeated_as_it_was_spelled() {
    let asked = query("cArT.ShOp", A);
    let Response::Reply(answer) = crate::ask(&asked) else { panic!("it is the mesh's") };
    assert_eq!(answer[12..asked.len()], asked[12..]);
}

#[test]
fn what_is_the_meshs_is_never_handed_on() {
    for name in [
        "nothing",
        "nothing.shop",
        "nothing.bank",
        "nothing.shop.svc",
        "nothing.nowhere.svc",
        "nothing.nowhere.svc.cluster.local",
        "www.example.com.svc.cluster.local",
        "example.com.cluster.local",
        "_http._tcp.cart.shop.svc.cluster.local",
        "_x",
    ] {
        let reply = reply(&query(name, A));
        assert_eq!((reply.code(), reply.counts[1]), (3, 0), "{name}");
        let in_zone = name.ends_with("cluster.local");
        assert_eq!(reply.others, if in_zone { &[SOA][..] } else { &[] }, "{name}");
    }
}

#[test]
fn names_of_the_internet_are_handed_on_as_they_came() {
    for name in ["example.com", "www.example.com", "_dmarc.example", "", "a.b.c.d"] {
        for kind in [A, AAAA, NS, SRV] {
            let asked = with_edns(query(name, kind), 1400, 0);
            assert_eq!(forwarded(&asked).message(), asked, "{name}");
        }
    }
    // Not below the zone, though it ends in the same letters.
    forwarded(&query("cart.shop.svc.xcluster.local", A));
}

#[test]
fn a_name_that_exists_without_such_records_has_none() {
    for (name, kind) in [
        ("cart", SRV),
        ("cart.shop.svc.cluster.local", NS),
        ("cluster.local", A),
        ("svc.cluster.local", A),
        ("anything.svc.cluster.local", AAAA),
    ] {
        let reply = reply(&query(name, kind));
        assert_eq!((reply.code(), reply.counts[1]), (0, 0), "{name}");
    }
}

#[test]
fn localhost_is_loopback() {
    for name in ["localhost", "x.LOCALHOST"] {
        assert_eq!(reply(&query(name, A)).addresses(), [[127, 0, 0, 1]]);
        assert_eq!(reply(&query(name, AAAA)).addresses()[0][15], 1);
        assert_eq!(reply(&query(name, SRV)).counts[1], 0);
    }
}

#[test]
fn edns_is_answered_by_edns() {
    assert_eq!(reply(&query("cart", A)).others, []);
    assert_eq!(reply(&with_edns(query("cart", A), 4096, 0)).others, [OPT]);
    // Version 1 is not known: the code is 16, whose upper bits stand in the record.
    let Response::Reply(answer) = crate::ask(&with_edns(query("cart", A), 4096, 1)) else {
        panic!("it is answered")
    };
    assert_eq!(Reply::read(&answer).code(), 0);
    assert_eq!(answer[answer.len() - 6], 1);
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_is_had_over_tcp() {
    let many = |count: u8| {
        let v4 = (0..count).map(|number| [10, 96, 1, number].into()).collect();
        Answer::Addresses { v4, v6: vec![], ttl: 1 }
    };
    let respond_with =
        |message: &[u8], count, transport| match respond(message, &zones(), transport, |_| {
            many(count)
        }) {
            Response::Reply(bytes) => (bytes.len(), Reply::read(&bytes)),
            other => panic!("{other:?}"),
        };
    let plain = query("cart", A);
    let (length, reply) = respond_with(&plain, 29, Transport::Udp);
    assert!(length <= 512 && reply.records.len() == 29 && !reply.is_truncated());
    let (_, reply) = respond_with(&plain, 31, Transport::Udp);
    assert!(reply.is_truncated() && reply.records.is_empty());
    let (_, reply) = respond_with(&plain, 200, Transport::Tcp);
    assert_eq!((reply.records.len(), reply.is_truncated()), (200, false));
    let extended = with_edns(plain.clone(), 1232, 0);
    let (length, reply) = respond_with(&extended, 74, Transport::Udp);
    assert!(length <= 1232 && reply.records.len() == 74);
    assert!(respond_with(&extended, 80, Transport::Udp).1.is_truncated());
    // Less than anybody must take is not taken for less.
    let small = with_edns(plain, 1, 0);
    assert_eq!(respond_with(&small, 20, Transport::Udp).1.records.len(), 20);
}

#[test]
fn a_stream_holds_no_more_than_its_length_can_say() {
    let v6 = vec![VIP6; 5_000];
    let answer = |_: &_| Answer::Addresses { v4: vec![], v6, ttl: 1 };
    let Response::Reply(bytes) = respond(&query("cart", AAAA), &zones(), Transport::Tcp, answer)
    else {
        panic!("it is answered")
    };
    assert!(bytes.len() <= 65_535);
    assert_eq!(Reply::read(&bytes).records.len(), 2_339);
}

#[test]
fn services_are_looked_up_once_and_by_their_full_name() {
    let mut asked = Vec::new();
    for name in ["cart", "cart.bank", "cart.bank.svc.cluster.local", "www.example.com"] {
        respond(&query(name, A), &zones(), Transport::Udp, |service| {
            asked.push(service.to_string());
            lookup(service)
        });
    }
    assert_eq!(asked, ["shop/cart", "bank/cart", "bank/cart"]);
}

#[test]
fn the_search_list_leads_to_full_names() {
    let search = zones().search();
    assert_eq!(search, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
    assert_eq!(reply(&query(&format!("cart.{}", search[0]), A)).records.len(), 1);
    assert_eq!(reply(&query(&format!("cart.shop.{}", search[1]), A)).records.len(), 1);
}
