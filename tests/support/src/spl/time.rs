//! Splunk's relative times and spans. The clock of a search head stands in UTC here.

use chrono::{DateTime, Datelike, Days, Months, TimeDelta, Timelike, Utc};

use super::cursor::Result;

/// `300s`, `5m`, `1h`, `1d`, `1w`: its length in seconds. Months have no length.
pub fn span(text: &str) -> Result<i64> {
    let (number, unit) = number_and_unit(text);
    let number: i64 = if number.is_empty() {
        1
    } else {
        number.parse().map_err(|_| format!("the span {text}"))?
    };
    let seconds = match unit_of(unit) {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        Some('w') => 604_800,
        _ => return Err(format!("the span {text} is not understood")),
    };
    if number < 1 {
        return Err(format!("the span {text} is empty"));
    }
    Ok(number * seconds)
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let length = text
        .find(|sign: char| !sign.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(length)
}

/// Months are `M` here; Splunk writes them `mon`.
fn unit_of(text: &str) -> Option<char> {
    Some(match text {
        "s" | "sec" | "secs" | "second" | "seconds" => 's',
        "m" | "min" | "mins" | "minute" | "minutes" => 'm',
        "h" | "hr" | "hrs" | "hour" | "hours" => 'h',
        "d" | "day" | "days" => 'd',
        "w" | "week" | "weeks" => 'w',
        "mon" | "month" | "months" => 'M',
        "y" | "yr" | "year" | "years" => 'y',
        _ => return None,
    })
}

/// `now`, `-60m@m`, `-30d@d`, `@d+2h`, or seconds since 1970.
pub fn relative(now: i64, text: &str) -> Result<i64> {
    if ["now", "now()"].contains(&text) {
        return Ok(now);
    }
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(seconds.into());
    }
    let wrong = || format!("the time {text} is not understood");
    let mut time = DateTime::from_timestamp(now, 0).ok_or_else(wrong)?;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while let Some(sign) = rest.chars().next() {
        rest = &rest[1..];
        let length = rest.find(['+', '-', '@']).unwrap_or(rest.len());
        let (part, after) = rest.split_at(length);
        rest = after;
        time = match sign {
            '@' => snap(time, part).ok_or_else(wrong)?,
            '+' | '-' => {
                let (number, unit) = number_and_unit(part);
                let number: u32 = if number.is_empty() {
                    1
                } else {
                    number.parse().map_err(|_| wrong())?
                };
                let unit = unit_of(unit).ok_or_else(wrong)?;
                shift(time, sign == '+', number, unit).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
    }
    Ok(time.timestamp())
}

fn shift(time: DateTime<Utc>, later: bool, number: u32, unit: char) -> Option<DateTime<Utc>> {
    let months = match unit {
        'M' => number,
        'y' => number * 12,
        _ => {
            let seconds = span(&format!("1{unit}")).ok()? * i64::from(number);
            let by = TimeDelta::seconds(if later { seconds } else { -seconds });
            return time.checked_add_signed(by);
        }
    };
    if later {
        time.checked_add_months(Months::new(months))
    } else {
        time.checked_sub_months(Months::new(months))
    }
}

fn snap(time: DateTime<Utc>, to: &str) -> Option<DateTime<Utc>> {
    let time = time.with_nanosecond(0)?.with_second(time.second())?;
    let minute = time.with_second(0)?;
    let midnight = || minute.with_minute(0)?.with_hour(0);
    let weekday = to.strip_prefix('w').and_then(|day| day.parse::<u64>().ok());
    if let Some(weekday) = weekday {
        let today = u64::from(time.weekday().num_days_from_sunday());
        return midnight()?.checked_sub_days(Days::new((today + 7 - weekday % 7) % 7));
    }
    match unit_of(to)? {
        's' => Some(time),
        'm' => Some(minute),
        'h' => minute.with_minute(0),
        'd' => midnight(),
        'w' => snap(time, "w0"),
        'M' => midnight()?.with_day(1),
        _ => midnight()?.with_day(1)?.with_month(1),
    }
}

/// Refuses a time format that Splunk does not know.
pub(super) fn check_format(format: &str) -> Result<()> {
    let mut parts = format.split('%').skip(1);
    while let Some(part) = parts.next() {
        let part = match part {
            "" => match parts.next() {
                Some(_) => continue,
                None => return Err(format!("the time format {format} ends with a %")),
            },
            part => part.trim_start_matches(['3', '6', '9']),
        };
        if !part.starts_with(|sign| "YmdHMSFTjaAbBeyszZpIkwNQ".contains(sign)) {
            return Err(format!("the time format %{part}"));
        }
        if part.starts_with('Q') && !format.contains("%3Q") && !format.contains("%6Q") {
            return Err("the time format %Q: write %3Q".to_owned());
        }
    }
    Ok(())
}

pub(super) fn format(seconds: f64, format: &str) -> Result<String> {
    // The parts that Splunk and chrono understand alike.
    let parts = format.split('%').skip(1).filter(|part| !part.is_empty());
    for part in parts {
        if !part.starts_with(|sign| "YmdHMSFTjaAbBeyspI".contains(sign)) {
            return Err(format!("the tests do not know the time format %{part}"));
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "times are far from the limits"
    )]
    let time = DateTime::from_timestamp(seconds.floor() as i64, 0);
    let time = time.ok_or_else(|| format!("{seconds} is no time"))?;
    Ok(time.format(format).to_string())
}
