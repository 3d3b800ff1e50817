//! Unfinished lines, shown and cut.

use super::*;

#[test]
fn shown_prompt_gives_way_and_comes_again() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"# ");
    drain(&mut mux, 0, &board);
    assert_eq!(sent(&mut mux, 20 * MS, &board), "a| # ");
    board.say(2, b"period 1\n");
    assert_eq!(
        drain(&mut mux, 30 * MS, &board),
        ("\0\r\nb| period 1\r\n".into(), Some(50 * MS))
    );
    assert_eq!(drain(&mut mux, 50 * MS, &board), ("a| # ".into(), None));
    board.say(1, b"ls\n");
    assert_eq!(sent(&mut mux, 51 * MS, &board), "ls\r\n");
}

#[test]
fn two_prompts_do_not_push_each_other_away() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"a> ");
    board.say(2, b"b> \r");
    drain(&mut mux, 0, &board);
    let wire = sent(&mut mux, 20 * MS, &board);
    assert_eq!(wire, "a| a> \0\r\nb| b> ", "each shown once");
    for ms in 21..200 {
        assert_eq!(drain(&mut mux, ms * MS, &board).0, "");
    }
    board.say(3, b"c\n");
    let wire = sent(&mut mux, 200 * MS, &board);
    assert_eq!(wire, "\0\r\nc| c\r\na| a> ", "the one with the keyboard");
    board.say(2, b"!");
    assert_eq!(drain(&mut mux, 221 * MS, &board).1, Some(241 * MS));
    assert_eq!(sent(&mut mux, 241 * MS, &board), "\0\r\nb| b> \rb| !");
}

#[test]
fn of_prompts_that_come_again_the_keyboards_is_first_or_whose_turn_it_is() {
    for (focus, wanted) in [(1, "a| a> "), (2, "b| b> "), (3, "a| a> ")] {
        let (mut mux, mut board) = (Multiplexer::new(), Board::new());
        board.focus = focus;
        board.say(1, b"a> ");
        board.say(2, b"b> ");
        drain(&mut mux, 0, &board);
        assert_eq!(sent(&mut mux, 20 * MS, &board), "a| a> \0\r\nb| b> ");
        // A line that takes so long that both are due behind it.
        board.say(3, b"c\n");
        while mux.next(200 * MS, &board) != Step::Byte(b'c') {}
        let wire = sent(&mut mux, 230 * MS, &board);
        assert_eq!(wire, format!("| c\r\n{wanted}"), "focus {focus}");
    }
}

#[test]
fn one_byte_is_a_prompt_and_a_return_is_none() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b">");
    board.say(2, b"\r");
    drain(&mut mux, 0, &board);
    assert_eq!(drain(&mut mux, 20 * MS, &board), ("a| >".into(), None));
    board.say(2, b"x\n");
    assert_eq!(sent(&mut mux, 21 * MS, &board), "\0\r\nb| x\r\n");
}
