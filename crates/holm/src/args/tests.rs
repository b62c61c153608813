//! Parsing: which words are the command's, how switches take values, what is refused with which code.

use super::*;

fn parsed(line: &[&str]) -> Result<Command, Refusal> {
    let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
    parse(&arguments).map(|invocation| invocation.command)
}

fn run(line: &[&str]) -> Box<create::Run> {
    match parsed(line) {
        Ok(Command::Run(run)) => run,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn flags_behind_the_image_belong_to_the_command() {
    let flags = run(&["run", "-it", "--rm", "alpine", "ls", "-la", "--rm", "--", "x"]);
    assert!(flags.container.interactive && flags.container.tty && flags.container.rm);
    assert_eq!(flags.container.words, ["alpine", "ls", "-la", "--rm", "--", "x"]);
    assert_eq!(run(&["run", "alpine", "-it"]).container.words, ["alpine", "-it"]);
    assert_eq!(run(&["run", "alpine", "--help"]).container.words, ["alpine", "--help"]);
    assert_eq!(run(&["run", "--", "alpine", "sh", "-c", "x"]).container.words, ["alpine", "sh", "-c", "x"]);
    assert_eq!(run(&["run", "alpine", "echo", "--config", "x"]).container.words, ["alpine", "echo", "--config", "x"]);
    match parsed(&["exec", "-it", "web", "sh", "-c", "exit 3"]) {
        Ok(Command::Exec(exec)) => assert_eq!(exec.words, ["web", "sh", "-c", "exit 3"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn switches_take_true_and_false_and_the_last_wins() {
    assert!(!run(&["run", "--rm=false", "a"]).container.rm);
    assert!(run(&["run", "--rm=true", "-it", "a"]).container.rm);
    assert!(run(&["run", "--rm=false", "-it", "a"]).container.tty);
    assert!(run(&["run", "--rm=false", "--rm", "a"]).container.rm);
    assert!(!run(&["run", "--sig-proxy=false", "a"]).sig_proxy);
    assert!(run(&["run", "--sig-proxy", "a"]).sig_proxy);
    assert!(run(&["run", "a"]).sig_proxy);
    assert_eq!(run(&["run", "--name", "x", "--name", "y1", "a"]).container.name.as_deref(), Some("y1"));
}

#[test]
fn short_values_attach_and_negative_numbers_pass() {
    let flags =
        run(&["run", "-m512m", "-eA=1", "-e", "B", "-v/x:/y", "--memory-swap", "-1", "--pids-limit", "-1", "a"]);
    assert_eq!(flags.container.limits.memory.as_deref(), Some("512m"));
    assert_eq!(flags.container.process.env, ["A=1", "B"]);
    assert_eq!(flags.container.limits.memory_swap.as_deref(), Some("-1"));
    assert_eq!(flags.container.limits.pids_limit, Some(-1));
    assert_eq!(run(&["run", "-h", "box", "a"]).container.sandbox.hostname.as_deref(), Some("box"));
}

#[test]
fn global_flags_stand_before_and_behind_the_command() {
    for line in [["--data-root", "/d", "ps"], ["ps", "--data-root", "/d"]] {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        let invocation = parse(&arguments).map(|i| i.globals.data_root);
        assert_eq!(invocation.ok().flatten(), Some(PathBuf::from("/d")), "{line:?}");
    }
}

#[test]
fn refusals_have_dockers_codes() {
    for (line, code) in [
        (vec!["run", "--nonsense", "a"], 125),
        (vec!["run"], 125),
        (vec!["exec", "--nonsense", "a", "b"], 125),
        (vec!["ps", "--nonsense"], 2),
        (vec!["frobnicate"], 2),
        (vec!["volume", "frobnicate"], 2),
        (vec!["--nonsense"], 2),
        (vec!["rm"], 2),
        (vec!["run", "--memory"], 125),
    ] {
        let refusal = parsed(&line).map(|c| format!("{c:?}")).expect_err(line[0]);
        assert_eq!((refusal.code, refusal.wanted), (code, false), "{line:?}: {}", refusal.text);
        assert!(refusal.text.starts_with("error: "), "{line:?}: {}", refusal.text);
    }
    assert!(parsed(&["exce"]).is_err_and(|r| r.text.contains("holm exec")));
}

#[test]
fn help_of_every_command_renders_with_two_examples_and_fits_lines() {
    fn visit(level: &'static [Entry], words: &[&str]) {
        for entry in level {
            let mut line = words.to_vec();
            line.push(entry.name);
            let mut wanted = line.clone();
            wanted.push("--help");
            let refusal = parsed(&wanted).map(|c| format!("{c:?}")).expect_err(entry.name);
            assert_eq!((refusal.code, refusal.wanted), (0, true), "{line:?}");
            assert!(refusal.text.contains("Examples:\n  holm "), "{line:?}");
            assert_eq!(entry.examples.lines().count(), 2, "{line:?}");
            for text in refusal.text.lines() {
                assert!(text.chars().count() <= 140, "{line:?}: {text}");
            }
            visit(entry.children(), &line);
        }
    }
    visit(entries(), &[]);
    let top = parsed(&["--help"]).map(|_| ()).expect_err("help");
    assert!(top.wanted && top.text.lines().count() <= 50, "{}", top.text.lines().count());
    assert!(parsed(&[]).is_err_and(|r| r.wanted));
}

#[test]
fn every_example_parses() {
    fn visit(level: &'static [Entry]) {
        for entry in level {
            for example in entry.examples.lines() {
                let words = shell_words(example);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                assert!(parsed(&words[1..]).is_ok(), "{example}");
            }
            visit(entry.children());
        }
    }
    visit(entries());
}

/// The words of a command line with single quotes only, up to a redirection or pipe.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match (c, quoted) {
            ('\'', _) => quoted = !quoted,
            (' ', false) => words.push(String::new()),
            ('<' | '>' | '|', false) => break,
            _ => words.last_mut().expect("one word").push(c),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

#[test]
fn the_whole_tree_is_consistent() {
    full_tree().debug_assert();
}

#[test]
fn help_as_a_word_is_help_as_a_flag() {
    let text = |words: &[&str]| {
        let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
        super::parse(&words).map(|_| ()).unwrap_err()
    };
    assert_eq!(text(&["help"]).text, text(&["--help"]).text);
    assert_eq!(text(&["help", "run"]).text, text(&["run", "--help"]).text);
    assert_eq!(text(&["help", "run"]).code, 0);
}
