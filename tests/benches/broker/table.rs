//! The figures as Markdown.

use crate::load::{Kind, Load, Sample};
use crate::median;
use crate::system::System;

/// A load and what the systems did with it, in their order.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    samples: Vec<Vec<Sample>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Megabytes,
    Batches,
    Records,
    Latency,
    Cpu,
}

impl Row {
    pub(crate) fn new(load: &Load, samples: Vec<Vec<Sample>>) -> Self {
        let unit = match load.kind {
            Kind::Produce(p) if p.in_flight == 1 => Unit::Batches,
            Kind::Produce(_) | Kind::FetchTail { .. } | Kind::FetchCold { .. } => Unit::Megabytes,
            Kind::EndToEnd { .. } => Unit::Latency,
            Kind::IdlePolls { .. } => Unit::Cpu,
            Kind::RawTransactions { .. } => Unit::Batches,
            Kind::ClientProduce { .. } | Kind::ClientConsume { .. } | Kind::Transactions { .. } => {
                Unit::Records
            }
        };
        Self {
            name: load.name,
            unit,
            samples,
        }
    }

    /// More is better, except for latencies and costs.
    fn value(&self, samples: &[Sample]) -> f64 {
        let of = |sample: &Sample| match self.unit {
            Unit::Megabytes => sample.bytes as f64 / 1e6 / sample.seconds,
            Unit::Batches => sample.batches as f64 / sample.seconds,
            Unit::Records => sample.records as f64 / sample.seconds,
            Unit::Latency => sample.p50.as_secs_f64() * 1e3,
            Unit::Cpu => sample.cpu_seconds / sample.seconds,
        };
        median(samples.iter().map(of).collect())
    }

    fn cell(&self, samples: &[Sample]) -> String {
        if samples.is_empty() {
            return String::new();
        }
        let value = self.value(samples);
        let ms = |of: fn(&Sample) -> f64| median(samples.iter().map(of).collect());
        let (p50, p99) = (
            ms(|s| s.p50.as_secs_f64() * 1e3),
            ms(|s| s.p99.as_secs_f64() * 1e3),
        );
        match self.unit {
            Unit::Megabytes => format!("{value:.0} MB/s"),
            Unit::Batches => format!("{value:.0}/s, p50 {p50:.2} p99 {p99:.2} ms"),
            Unit::Records => format!("{:.0} k/s", value / 1e3),
            Unit::Latency => format!("p50 {p50:.2} p99 {p99:.2} ms"),
            Unit::Cpu => format!("{:.0} % of a core", value * 100.0),
        }
    }

    /// The first system against another: above 1 it is ahead.
    fn ratio(&self, samples: &[Sample]) -> String {
        let (Some(ours), false) = (self.samples.first(), samples.is_empty()) else {
            return String::new();
        };
        let ratio = self.value(ours) / self.value(samples);
        let ratio = match self.unit {
            Unit::Latency | Unit::Cpu => ratio.recip(),
            _ => ratio,
        };
        format!("{ratio:.2}")
    }

    pub(crate) fn line(&self, systems: &[System]) -> String {
        let cells: Vec<String> = self.samples.iter().map(|s| self.cell(s)).collect();
        let ratios: Vec<String> = self.samples.iter().skip(1).map(|s| self.ratio(s)).collect();
        debug_assert_eq!(cells.len(), systems.len());
        format!(
            "| {} | {} | {} |",
            self.name,
            cells.join(" | "),
            ratios.join(" | ")
        )
    }

    /// What a record costs; `None` where the load writes or reads none.
    fn cost(&self, name: &str, samples: &[Sample]) -> Option<String> {
        let total = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>();
        let records = total(|s| s.records as f64);
        if records == 0.0 || matches!(self.unit, Unit::Latency | Unit::Cpu) {
            return None;
        }
        let cpu_us = |of: fn(&Sample) -> f64| total(of) * 1e6 / records;
        let system_us = cpu_us(|s| s.cpu_seconds);
        let broker_us = cpu_us(|s| s.broker_cpu_seconds);
        let client_us = cpu_us(|s| s.client_cpu_seconds);
        let wal = total(|s| s.wal_bytes as f64) / records;
        let disk = total(|s| s.disk_bytes as f64) / records;
        let memory = samples.iter().map(|s| s.resident_bytes).max().unwrap_or(0) >> 20;
        Some(format!(
            "| {} | {name} | {system_us:.2} | {broker_us:.2} | {client_us:.2} | {wal:.1} | {disk:.1} | {memory} |",
            self.name
        ))
    }
}

/// All figures again, in two tables.
pub(crate) fn print(systems: &[System], rows: &[Row]) {
    let names: Vec<&str> = systems.iter().map(|s| s.name.as_str()).collect();
    let ratios: Vec<String> = names
        .iter()
        .skip(1)
        .map(|n| format!("pg_kafka : {n}"))
        .collect();
    let columns = names.len() + ratios.len() + 1;
    println!(
        "\n| load | {} | {} |",
        names.join(" | "),
        ratios.join(" | ")
    );
    println!("|{}", "---|".repeat(columns));
    for row in rows {
        println!("{}", row.line(systems));
    }
    println!(
        "\n| load | system | CPU us/record | of the broker alone | of the client | WAL bytes/record | disk bytes/record | most memory of the broker, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in rows {
        for (name, samples) in names.iter().zip(&row.samples) {
            if let Some(line) = row.cost(name, samples) {
                println!("{line}");
            }
        }
    }
}
