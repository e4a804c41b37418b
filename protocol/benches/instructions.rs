//! One of the measured works, done so many times: for counting its instructions, see `instructions.sh`. Without
//! arguments it lists the works.

mod cases;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    let [wanted, times] = arguments.as_slice() else {
        for case in cases::all() {
            for work in case.works {
                #[expect(clippy::print_stdout, reason = "a program, not a library")]
                {
                    println!("{}/{}/{}", case.name, work.what, work.by);
                }
            }
        }
        return ExitCode::SUCCESS;
    };
    let times: u32 = times.parse().expect("a number");
    for case in cases::all() {
        for mut work in case.works {
            if *wanted == format!("{}/{}/{}", case.name, work.what, work.by) {
                (0..times).for_each(|_| (work.run)());
                return ExitCode::SUCCESS;
            }
        }
    }
    ExitCode::FAILURE
}
