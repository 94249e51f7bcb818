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
	fields, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	ticks, err := strconv.ParseUint(string(fields[startField]), 10, 64)
	return Process{PID: pid, Start: ticks}, err
}

// Stopped reports whether the process is there and was stopped by a signal, until SIGCONT, or by a debugger (proc(5), T and t).
func (p Process) Stopped() bool {
	fields, err := stat(p.PID)
	if err != nil || string(fields[startField]) != strconv.FormatUint(p.Start, 10) {
		return false
	}
	state := string(fields[0])
	return state == "T" || state == "t"
}

// startField is where stat has field 22: its first is field 3.
const startField = 22 - 3

// stat are the fields of /proc/PID/stat behind the program's name.
func stat(pid int) ([][]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The name, in parentheses, may hold spaces and parentheses itself.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= startField {
		return nil, fmt.Errorf("/proc/%d/stat: %d fields after the name", pid, len(fields))
	}
	return fields, nil
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
