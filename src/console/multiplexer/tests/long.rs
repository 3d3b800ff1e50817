//! Lines that outgrow their rings, or a chunk.

use super::*;

#[test]
fn line_longer_than_its_ring_is_broken_not_lost() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    let text: Vec<u8> = (0..2000u32).map(|n| b'A' + (n % 26) as u8).collect();
    let mut wire = String::new();
    for byte in &text {
        while !board.put(1, *byte) {
            wire += &sent(&mut mux, 0, &board);
        }
    }
    board.say(2, b"let me\n");
    wire += &sent(&mut mux, 0, &board);
    board.say(1, b"\n");
    wire += &sent(&mut mux, 0, &board);
    assert!(wire.contains("b| let me\r\n"));
    assert!(!wire.contains('\0'));
    let seen: String = wire
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("a| "))
        .collect();
    assert_eq!(seen.as_bytes(), text);
}

#[test]
fn three_quarters_of_a_ring_wait_for_no_end() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, &[b'x'; RING / 4 * 3 - 1]);
    let nothing = (String::new(), Some(20 * MS));
    assert_eq!(drain(&mut mux, 0, &board), nothing);
    board.say(1, b"x");
    let wire = sent(&mut mux, 0, &board);
    assert_eq!(wire, format!("a| {}", "x".repeat(RING / 4 * 3)));
}

/// Sends the prefix of `a` and a chunk of its line.
fn send_chunk<const N: usize>(mux: &mut Multiplexer, board: &Board<N>) {
    for _ in 0..3 + CHUNK {
        assert!(matches!(mux.next(0, board), Step::Byte(_)));
    }
}

#[test]
fn a_long_line_gives_room_by_the_chunk() {
    let (mut mux, board) = (Multiplexer::new(), Board::<1024>::of_size());
    board.say(1, &[b'x'; 300]);
    board.say(1, b"\n");
    send_chunk(&mut mux, &board);
    assert_eq!(mux.next(0, &board), Step::Again);
    assert_eq!(board.rings[1].reader().available(), 301 - CHUNK);
}

#[test]
fn a_long_line_whose_end_comes_meanwhile_stays_whole() {
    let (mut mux, board) = (Multiplexer::new(), Board::<1024>::of_size());
    board.say(1, &[b'x'; 800]);
    send_chunk(&mut mux, &board);
    board.say(1, b"\n");
    board.say(2, b"b\n");
    let rest = "x".repeat(800 - CHUNK as usize);
    let wire = sent(&mut mux, 0, &board);
    assert_eq!(wire, format!("{rest}\r\nb| b\r\n"));
}

#[test]
fn endless_line_does_not_starve_the_others() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(2, b"");
    let mut wire = Vec::new();
    let mut asked = None;
    for step in 0..10_000 {
        while board.put(1, b'x') {}
        if step == 1000 {
            board.say(2, b"me too\n");
            asked = Some(wire.len());
        }
        if let Step::Byte(byte) = mux.next(0, &board) {
            wire.push(byte);
        }
    }
    let wire = String::from_utf8(wire).unwrap();
    let at = wire.find("b| me too\r\n").unwrap();
    assert!(at - asked.unwrap() < 2 * RING, "after {at}");
}
