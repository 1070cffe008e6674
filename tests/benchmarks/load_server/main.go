// The load server of the benchmarks: it sends rendered events to every reader, as fast as the reader takes them.
//
// All sessions have the same events, which are rendered once, at the start. It is compiled, because a load server in
// Python took as much processor time for an event as half a bridge, on the cores that both share.
//
//	load_server -sessions 100 -events 2000 -per-write 1 -event-bytes 150 [-held]
//
// The first line of the output is its address. GET /stream?sessionId=... sends the events after Last-Event-ID.
// GET /readers counts the open streams by their header X-Process. With -held nothing is sent before POST /start.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

const (
	head  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	piece = 64 * 1024 // bytes of one system call: the kernel's buffers hold more, and the reader reads no more at once
)

var (
	sessions   = flag.Int("sessions", 1, "how many, named session-0 and so on")
	events     = flag.Int("events", 1000, "of each session")
	perWrite   = flag.Int("per-write", 1, "events of one HTTP chunk")
	eventBytes = flag.Int("event-bytes", 150, "of the data of one event")
	held       = flag.Bool("held", false, "send nothing before POST /start")
)

// body is what every session sends, in HTTP chunks, and where each event's chunk begins.
type body struct {
	bytes  []byte
	chunks []int
}

func block(number int) string {
	data := fmt.Sprintf(`{"type":"content","content":"%012d`, number)
	end := `","assistantMessageId":"msg_00000001"}`
	filler := "the Words of an event, as an Agent says them: 12, 3. "
	missing := max(0, *eventBytes-len(data)-len(end))
	text := strings.Repeat(filler, missing/len(filler)+1)[:missing]
	return fmt.Sprintf("id: %d\nevent: content\ndata: %s%s%s\n\n", number, data, text, end)
}

func chunk(first, last int) []byte {
	var payload strings.Builder
	for number := first; number <= last; number++ {
		payload.WriteString(block(number))
	}
	return fmt.Appendf(nil, "%x\r\n%s\r\n", payload.Len(), payload.String())
}

func render() body {
	var all body
	for first := 1; first <= *events; first += *perWrite {
		all.chunks = append(all.chunks, len(all.bytes))
		all.bytes = append(all.bytes, chunk(first, min(first+*perWrite-1, *events))...)
	}
	return all
}

// after returns the bytes behind an event. A chunk that holds events before and after it is sent in part.
func (all body) after(number int) ([]byte, []byte) {
	number = min(max(number, 0), *events)
	at := (number + *perWrite - 1) / *perWrite
	var part []byte
	if number%*perWrite != 0 && number < *events {
		part = chunk(number+1, min(at**perWrite, *events))
	}
	if at >= len(all.chunks) {
		return part, nil
	}
	return part, all.bytes[all.chunks[at]:]
}

type server struct {
	all     body
	start   chan struct{}
	once    sync.Once
	lock    sync.Mutex
	readers map[string]int
}

func (one *server) stream(answer http.ResponseWriter, request *http.Request) {
	connection, _, err := answer.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	process := request.Header.Get("X-Process")
	one.count(process, 1)
	defer one.count(process, -1)
	number, _ := strconv.Atoi(request.Header.Get("Last-Event-ID"))
	if _, err = connection.Write([]byte(head)); err != nil {
		return
	}
	<-one.start
	part, rest := one.all.after(number)
	if _, err = connection.Write(part); err != nil {
		return
	}
	for len(rest) > 0 {
		size := min(piece, len(rest))
		if _, err = connection.Write(rest[:size]); err != nil {
			return
		}
		rest = rest[size:]
	}
	connection.Read(make([]byte, 1)) // the stream stays open until the reader ends it
}

func (one *server) count(process string, change int) {
	one.lock.Lock()
	defer one.lock.Unlock()
	one.readers[process] += change
}

func (one *server) answerJSON(answer http.ResponseWriter, what any) {
	answer.Header().Set("Content-Type", "application/json")
	json.NewEncoder(answer).Encode(what)
}

func (one *server) listSessions(answer http.ResponseWriter, _ *http.Request) {
	list := []map[string]string{}
	for number := range *sessions {
		list = append(list, map[string]string{"id": fmt.Sprintf("session-%d", number)})
	}
	one.answerJSON(answer, list)
}

func (one *server) countReaders(answer http.ResponseWriter, _ *http.Request) {
	one.lock.Lock()
	defer one.lock.Unlock()
	one.answerJSON(answer, one.readers)
}

func main() {
	flag.Parse()
	one := &server{all: render(), start: make(chan struct{}), readers: map[string]int{}}
	begin := func() { one.once.Do(func() { close(one.start) }) }
	if !*held {
		begin()
	}
	http.HandleFunc("GET /stream", one.stream)
	http.HandleFunc("GET /api/sessions", one.listSessions)
	http.HandleFunc("GET /readers", one.countReaders)
	http.HandleFunc("POST /start", func(http.ResponseWriter, *http.Request) { begin() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	http.Serve(listener, nil)
}
