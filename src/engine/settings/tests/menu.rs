//! Dialogues that were recorded when LMCache had fewer workloads, with the menu of today: all names in it, and the same workload
//! chosen by its number of today.

use crate::engine::workload::{ABOUTS, NAMES};

const PROMPT: &str = "\x1b[92m>\x1b[0m ";
/// The first rows of the menus of LMCache 0.5.6 and 0.5.7.
const FIRST_ROWS: [&str; 2] = ["  * 1) long-doc-permutator", "  * 1) kv-tier-pressure"];
/// The answer to a number that no menu has.
const NO_CHOICE: &str = "Enter a number 1-";

/// The workloads of the menu.
fn in_menu() -> &'static [&'static str] {
    &NAMES[..ABOUTS.len()]
}

/// Answers and dialogue, as they would be recorded today.
pub fn with_todays_menu(answers: &str, dialogue: &str) -> (String, String) {
    let mut answers: Vec<String> = answers.lines().map(str::to_owned).collect();
    let mut today = String::new();
    let mut rest = dialogue;
    while let Some(at) = FIRST_ROWS.iter().find_map(|row| rest.find(row)) {
        today.push_str(&rest[..at]);
        let lines = rest[at..].split_inclusive('\n');
        let rows: Vec<&str> = lines.take_while(|line| line.contains("  — ")).collect();
        let names: Vec<&str> = rows.iter().map(|row| name_in(row)).collect();
        let mut asked = today.matches(PROMPT).count();
        for (number, name) in (1..).zip(in_menu()) {
            let mark = if number == 1 { '*' } else { ' ' };
            today.push_str(&format!("  {mark} {number}) {name}  — \n"));
        }
        rest = &rest[at + rows.concat().len()..];
        let no_choice = format!("{NO_CHOICE}{}.", names.len());
        loop {
            if let Some(answer) = answers.get_mut(asked) {
                *answer = todays_number(answer, &names);
            }
            asked += 1;
            let end = rest.find(PROMPT).map_or(rest.len(), |at| at + PROMPT.len());
            today.push_str(&rest[..end]);
            rest = &rest[end..];
            let Some((remark, after)) = rest.split_once(&no_choice).filter(|(remark, _)| !remark.contains('\n')) else {
                break;
            };
            today.push_str(&format!("{remark}{NO_CHOICE}{}.", in_menu().len()));
            rest = after;
        }
    }
    today.push_str(rest);
    (answers.iter().map(|answer| format!("{answer}\n")).collect(), today)
}

/// The workload of a row of the menu.
fn name_in(row: &str) -> &str {
    let (_, name) = row.split_once(") ").unwrap();
    name.split("  — ").next().unwrap()
}

/// What to answer today for the workload that `answer` has chosen of `names`, or for none.
fn todays_number(answer: &str, names: &[&str]) -> String {
    let number = if answer.is_empty() {
        Ok(1)
    } else {
        answer.parse::<usize>()
    };
    let Ok(number) = number else { return answer.to_owned() };
    let today = match names.get(number.wrapping_sub(1)) {
        Some(name) => 1 + in_menu().iter().position(|other| other == name).unwrap(),
        None => number + in_menu().len() - names.len(),
    };
    today.to_string()
}

#[test]
fn answers_keep_their_workload() {
    let menu = "  * 1) long-doc-permutator  — about\n    2) long-doc-qa  — about\n    3) random-prefill  — about\n";
    let dialogue = format!("A\n{PROMPT}\n{menu}{PROMPT}  {NO_CHOICE}3.\n{PROMPT}\nB\n{PROMPT}");
    let (answers, today) = with_todays_menu("x\n4\n\n2\n", &dialogue);
    let of = |name| 1 + in_menu().iter().position(|other| *other == name).unwrap();
    let count = in_menu().len();
    assert_eq!(answers, format!("x\n{}\n{}\n2\n", count + 1, of("long-doc-permutator")));
    let last = in_menu()[count - 1];
    assert!(
        today.contains(&format!(
            "   {count}) {last}  — \n{PROMPT}  {NO_CHOICE}{count}.\n{PROMPT}\nB"
        )),
        "{today}"
    );
    assert!(
        today.contains(&format!("  {}) long-doc-qa", of("long-doc-qa"))),
        "{today}"
    );
}
