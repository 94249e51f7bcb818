package rootless

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Process names a process for longer than its number lasts.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot: field 22 of /proc/PID/stat
}

// ProcessOf is the process that has a number now. The error is fs.ErrNotExist where none has.
func ProcessOf(pid int) (Process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	// The program's name, in parentheses, may hold spaces and parentheses itself.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const start = 22 - 3 // field 3 is the first one after the name
	if len(fields) <= start {
		return Process{}, fmt.Errorf("/proc/%d/stat: %d fields after the name", pid, len(fields))
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	return Process{PID: pid, Start: ticks}, err
}

// inhabitant is a process inside that lives: the holder, or, if somebody killed that, the owner of a lab. What no such process is left of is nobody's.
func (s Space) inhabitant() (pid int, ok bool) {
	var all []Process
	if text, err := os.ReadFile(s.file("holder")); err == nil {
		var p Process
		if _, err := fmt.Sscan(string(text), &p.PID, &p.Start); err == nil {
			all = append(all, p)
		}
	}
	states, _ := filepath.Glob(s.file("run/natlab/*/state.json")) // the pattern is right
	for _, file := range states {
		var state struct {
			Owner Process `json:"owner"`
		}
		if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &state) == nil {
			all = append(all, state.Owner)
		}
	}
	for _, p := range all {
		if now, err := ProcessOf(p.PID); err == nil && now == p && lives(p.PID) {
			return p.PID, true
		}
	}
	return 0, false
}

// lives reports whether a process has a network namespace: one that ended and was not waited for has none.
func lives(pid int) bool {
	var st unix.Stat_t
	return unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil
}
