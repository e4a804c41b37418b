//! How often every measured work allocates. Apart from the other benches, because counting costs instructions and time.

mod cases;

fn main() {
    for case in cases::all() {
        for mut work in case.works {
            // A buffer that is used again grows the first time.
            (work.run)();
            let allocations = allocation_counter::measure(|| (work.run)()).count_total;
            #[expect(clippy::print_stdout, reason = "a program, not a library")]
            {
                println!("{}/{}/{}\t{allocations}", case.name, work.what, work.by);
            }
        }
    }
}
