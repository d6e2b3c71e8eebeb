//! What the shell and man(1) know about the command line, made from its definition.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::exit::Exit;

/// Prints the completion script for a shell.
pub(super) fn completion(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gateway", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Exit::Success
}

/// Writes `gateway.1` and a page for each command into a directory.
pub(super) fn man(directory: &Path) -> Exit {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory));
    match written {
        Ok(()) => {
            println!("man pages are in {}", directory.display());
            Exit::Success
        }
        Err(error) => {
            eprintln!("cannot write man pages to {}: {error}", directory.display());
            Exit::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "gateway", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Arguments::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn every_command_has_a_man_page() {
        let directory = tempfile::tempdir().unwrap();
        let pages = directory.path().join("man1");
        assert_eq!(man(&pages), Exit::Success);
        let main = std::fs::read_to_string(pages.join("gateway.1")).unwrap();
        assert!(main.contains("Exit codes"), "{main}");
        for command in Arguments::command().get_subcommands() {
            let page = pages.join(format!("gateway-{}.1", command.get_name()));
            assert!(page.is_file(), "{}", page.display());
        }
    }
}
