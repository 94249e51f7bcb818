package xt

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat/rules"
)

// Time is -m time (xt_time.c). Bounds are in, of UTC or of the kernel's time zone.
type Time struct {
	DateStart, DateStop uint32 // seconds of the Unix time
	DayStart, DayStop   uint32 // seconds of the day; DayStop before DayStart is of the next day
	MonthDays           uint32 // by bit, from 1 on
	WeekDays            uint8  // by bit: Monday is 1, Sunday 7
	KernelZone          bool
	Contiguous          bool // the hours after midnight count to the day before
}

const (
	allMonthDays = 0xfffffffe // XT_TIME_ALL_MONTHDAYS
	allWeekDays  = 0xfe       // XT_TIME_ALL_WEEKDAYS
	secondsOfDay = 24 * 60 * 60
	lastSecond   = secondsOfDay - 1 // XT_TIME_MAX_DAYTIME

	// Bits of flags.
	timeLocal      = 1 << 0 // XT_TIME_LOCAL_TZ
	timeContiguous = 1 << 1 // XT_TIME_CONTIGUOUS
)

var weekDays = []string{"", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

var timeRow = Extension{
	Name: "time",
	Options: []Option{
		{Name: "--datestart", Values: 1},
		{Name: "--datestop", Values: 1},
		{Name: "--timestart", Values: 1},
		{Name: "--timestop", Values: 1},
		{Name: "--contiguous"},
		{Name: "--weekdays", Values: 1, Not: true},
		{Name: "--monthdays", Values: 1, Not: true},
		{Name: "--kerneltz"},
		{Name: "--localtz"},
		{Name: "--utc"},
	},
	Examples: []string{
		"--timestart 01:02:03 --timestop 04:05:06 --monthdays 1,2,3,4,5 --weekdays Mon,Fri,Sun --datestart 2001-02-03T04:05:06 --datestop 2012-09-08T09:06:05",
		"--datestop 2038-01-19T03:14:07", "--timestart 23:00:00 --timestop 01:00:00 --datestop 2038-01-19T03:14:07 --contiguous",
		"--monthdays 11,12,13,31 --datestart 1970-01-01T00:00:01 --datestop 2012-09-08T09:06:05 --kerneltz",
	},
	Parse: parseTime,
	Listed: func(l *Listing) bool {
		if !l.TakeWord("TIME") {
			return false
		}
		if l.Value("from ", "--timestart", false) {
			l.Value("to ", "--timestop", false)
		}
		for l.TakeWord("on") {
			if days := l.Word(); strings.Trim(days, "0123456789stndrh,") == "" {
				l.Give("--monthdays", false, strings.NewReplacer("st", "", "nd", "", "rd", "", "th", "").Replace(days))
			} else {
				l.Give("--weekdays", false, days)
			}
		}
		if l.Take("starting from ") {
			l.Give("--datestart", false, l.Word()+"T"+l.Word())
		}
		if l.Take("until date ") {
			l.Give("--datestop", false, l.Word()+"T"+l.Word())
		}
		if !l.TakeWord("UTC") {
			l.Give("--kerneltz", false)
		}
		l.Flag("contiguous", "--contiguous")
		return true
	},
	// struct xt_time_info { __u32 date_start, date_stop, daytime_start, daytime_stop, monthdays_match; __u8 weekdays_match, flags; };
	Layouts: layouts(layout(0, 24, decodeTime, encodeTime)),
}

func parseTime(a *Args) Value {
	m := Time{DateStop: math.MaxInt32, DayStop: lastSecond, MonthDays: allMonthDays, WeekDays: allWeekDays}
	a.Once()
	a.Exclusive("--utc", "--kerneltz")
	a.Exclusive("--utc", "--localtz")
	for g := range a.Options {
		switch g.Name() {
		case "--datestart":
			m.DateStart = g.date()
		case "--datestop":
			m.DateStop = g.date()
		case "--timestart":
			m.DayStart = g.daytime()
		case "--timestop":
			m.DayStop = g.daytime()
		case "--contiguous":
			m.Contiguous = true
		case "--weekdays":
			m.WeekDays = g.weekDays()
		case "--monthdays":
			m.MonthDays = g.monthDays()
		case "--kerneltz", "--localtz":
			m.KernelZone = true
		}
	}
	if m.Contiguous && m.DayStart < m.DayStop {
		a.Fail("--contiguous makes sense only where --timestop is before --timestart")
	}
	return m
}

// numbers reads numbers with separators behind them, as far as the text goes: "2020-1-1T4:5". Each is at most its top.
func numbers(text, separators string, tops ...uint64) (out []int, ok bool) {
	for i, top := range tops {
		end := len(text) - len(strings.TrimLeft(text, "0123456789"))
		n, err := strconv.ParseUint(text[:end], 10, 32)
		if err != nil || n > top {
			return nil, false
		}
		out, text = append(out, int(n)), text[end:]
		if text == "" {
			return out, true
		}
		if i >= len(separators) || text[0] != separators[i] {
			return nil, false
		}
		text = text[1:]
	}
	return nil, false
}

// date is the first value as YYYY[-MM[-DD[Thh[:mm[:ss]]]]], where what is too much for a month goes over to the next.
func (g *Given) date() uint32 {
	n, ok := numbers(g.Text(), "--T::", 2038, 12, 31, 23, 59, 59)
	if !ok || n[0] < 1970 {
		g.bad(0, "YYYY[-MM[-DD[Thh[:mm[:ss]]]]] from 1970 to 2038")
		return 0
	}
	n = append(n, []int{1970, 1, 1, 0, 0, 0}[len(n):]...)
	at := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC).Unix()
	if at < 0 {
		g.bad(0, "a date of 1970 or later")
		return 0
	}
	return uint32(at)
}

// daytime is the first value as hh:mm[:ss].
func (g *Given) daytime() uint32 {
	n, ok := numbers(g.Text(), "::", 23, 59, 59)
	if !ok || len(n) < 2 {
		g.bad(0, "hh:mm[:ss]")
		return 0
	}
	n = append(n, 0)
	return uint32(n[0]*3600 + n[1]*60 + n[2])
}

// parts are those of a list, each cut off behind so many bytes, as the program has room for; nothing behind the
// last comma is no part.
func (g *Given) parts(room int) (out []string) {
	for part := range strings.SplitSeq(strings.TrimSuffix(g.Text(), ","), ",") {
		out = append(out, part[:min(room, len(part))])
	}
	return out
}

// weekDays is the first value as a list of days, by number or by the first two letters of their names.
func (g *Given) weekDays() (days uint8) {
	for _, part := range g.parts(3) {
		i, ok := Number(part, math.MaxUint32)
		if !ok { // -1 where there is none, which is too much
			i = uint64(slices.IndexFunc(weekDays, func(day string) bool { return day != "" && strings.HasPrefix(part, day[:2]) }))
		}
		if i == 0 || i > math.MaxInt32 {
			g.bad(0, "days from Mon to Sun, or from 1 to 7")
			return 0
		}
		if i < 8 {
			days |= 1 << i
		}
	}
	if g.Not {
		days ^= allWeekDays
	}
	return days
}

// monthDays is the first value as a list of numbers.
func (g *Given) monthDays() (days uint32) {
	for _, part := range g.parts(2) {
		i, ok := Number(part, 31)
		if !ok && part != "" {
			g.bad(0, "days from 1 to 31")
			return 0
		}
		days |= 1 << i
	}
	if g.Not {
		days ^= allMonthDays
	}
	return days &^ 1
}

func decodeTime(d []byte, _ *Env) (Time, bool) {
	m := Time{
		DateStart: order.Uint32(d), DateStop: order.Uint32(d[4:]), DayStart: order.Uint32(d[8:]), DayStop: order.Uint32(d[12:]),
		MonthDays: order.Uint32(d[16:]) &^ 1, WeekDays: d[20] &^ 1, KernelZone: d[21]&timeLocal != 0, Contiguous: d[21]&timeContiguous != 0,
	}
	return m, d[21] < 4
}

func encodeTime(m Time, d []byte, _ *Env) error {
	for i, n := range []uint32{m.DateStart, m.DateStop, m.DayStart, m.DayStop, m.MonthDays} {
		order.PutUint32(d[4*i:], n)
	}
	d[20], d[21] = m.WeekDays, flagByte(m.KernelZone)*timeLocal|flagByte(m.Contiguous)*timeContiguous
	return nil
}

// Name is "time".
func (Time) Name() string { return "time" }

// Save prints the bounds that are not the default; that of dates is always printed.
func (m Time) Save(p *Printer) {
	if m.DayStart != 0 || m.DayStop != lastSecond {
		p.Text(" --timestart ", clockText(m.DayStart), " --timestop ", clockText(m.DayStop))
	}
	if m.MonthDays != allMonthDays {
		p.Text(" --monthdays ", m.monthDayList(false))
	}
	if m.WeekDays != allWeekDays {
		p.Text(" --weekdays ", setBits(uint32(m.WeekDays), weekDays))
	}
	for _, date := range []struct {
		option  string
		seconds uint32
	}{{"--datestart", m.DateStart}, {"--datestop", m.DateStop}} {
		if date.seconds != 0 {
			p.Option(false, date.option, time.Unix(int64(date.seconds), 0).UTC().Format("2006-01-02T15:04:05"))
		}
	}
	p.Flag(m.KernelZone, "--kerneltz")
	p.Flag(m.Contiguous, "--contiguous")
}

// List prints the bounds as iptables -L does.
func (m Time) List(p *Printer) {
	p.Text(" TIME")
	if m.DayStart != 0 || m.DayStop != lastSecond {
		p.Text(" from ", clockText(m.DayStart), " to ", clockText(m.DayStop))
	}
	if m.WeekDays != allWeekDays {
		p.Text(" on ", setBits(uint32(m.WeekDays), weekDays))
	}
	if m.MonthDays != allMonthDays {
		p.Text(" on ", m.monthDayList(true))
	}
	const format = " 2006-01-02 15:04:05"
	if m.DateStart != 0 {
		p.Text(" starting from", time.Unix(int64(m.DateStart), 0).UTC().Format(format))
	}
	if m.DateStop != math.MaxInt32 {
		p.Text(" until date")
		if m.DateStop != 0 {
			p.Text(time.Unix(int64(m.DateStop), 0).UTC().Format(format))
		}
	}
	p.Flag(!m.KernelZone, "UTC")
	p.Flag(m.Contiguous, "contiguous")
}

func clockText(seconds uint32) string {
	return time.Unix(int64(seconds), 0).UTC().Format("15:04:05")
}

// monthDayList is the days, as "1st,2nd,11st" where they are for people.
func (m Time) monthDayList(people bool) string {
	var out []string
	for day := 1; day <= 31; day++ {
		if m.MonthDays&(1<<day) == 0 {
			continue
		}
		text := strconv.Itoa(day)
		if people {
			text += [...]string{"th", "st", "nd", "rd", "th", "th", "th", "th", "th", "th"}[day%10]
		}
		out = append(out, text)
	}
	return strings.Join(out, ",")
}

// Holds asks the node's clock. The kernel's time zone is not known: where it would make a difference the answer is neither.
func (m Time) Holds(v *rules.Visit) rules.Answer {
	now, ok := clock(v)
	if !ok {
		return rules.Unknown
	}
	if !m.KernelZone {
		return rules.Is(m.includes(now.Unix()), false)
	}
	const quarter = 15 * 60
	holds := m.includes(now.Unix())
	for offset := int64(-14 * 4); offset <= 14*4; offset++ {
		if m.includes(now.Unix()+offset*quarter) != holds {
			return rules.Unknown
		}
	}
	return rules.Is(holds, false)
}

// clock is the node's time, where it is known.
func clock(v *rules.Visit) (time.Time, bool) {
	w, ok := v.World.(rules.Clock)
	if !ok {
		return time.Time{}, false
	}
	return w.Clock()
}

// includes reports whether a second of the Unix time is within all bounds (time_mt).
func (m Time) includes(at int64) bool {
	if at < int64(m.DateStart) || at > int64(m.DateStop) {
		return false
	}
	second := uint32(at % secondsOfDay)
	if m.DayStart < m.DayStop {
		if second < m.DayStart || second > m.DayStop {
			return false
		}
	} else {
		if second < m.DayStart && second > m.DayStop {
			return false
		}
		if m.Contiguous && second <= m.DayStop {
			at -= secondsOfDay
		}
	}
	day := time.Unix(at, 0).UTC()
	weekDay := (day.Weekday()+6)%7 + 1
	return m.WeekDays&(1<<weekDay) != 0 && m.MonthDays&(1<<day.Day()) != 0
}

// Actual is the time.
func (Time) Actual(v *rules.Visit) string {
	now, ok := clock(v)
	if !ok {
		return "the time is not known"
	}
	return "it is " + now.UTC().Format("Mon 2006-01-02 15:04:05") + " UTC"
}
