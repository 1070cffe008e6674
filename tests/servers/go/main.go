// A server of event streams made of a library of another project, which frames, keeps and replays the events.
//
//	servers LIBRARY      r3labs, go-sse or mercure
//
// GET  /channels/NAME/events     the stream
// POST /channels/NAME            publish: a JSON list of {"id", "event", "data"}
//
// The first line of its output is its address.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/dunglas/mercure"
	r3labs "github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
	"go.uber.org/zap"
)

type event struct {
	ID    string `json:"id"`
	Event string `json:"event"`
	Data  string `json:"data"`
}

// library has the two things that differ between libraries.
type library struct {
	publish func(channel string, event event)
	stream  func(channel string, w http.ResponseWriter, r *http.Request)
}

// withR3labs counts the events from 0 and begins a replay with the event of the requested id.
func withR3labs() library {
	server := r3labs.New()
	server.AutoStream = true
	server.AutoReplay = true
	server.SplitData = true
	return library{
		publish: func(channel string, e event) {
			server.CreateStream(channel)
			server.Publish(channel, &r3labs.Event{Event: []byte(e.Event), Data: []byte(e.Data)})
		},
		stream: func(channel string, w http.ResponseWriter, r *http.Request) {
			r.URL.RawQuery = url.Values{"stream": {channel}}.Encode()
			server.ServeHTTP(w, r)
		},
	}
}

// withGoSSE replays the events after the requested id; an unknown id gets live events only.
func withGoSSE() library {
	replayer, err := gosse.NewValidReplayer(time.Hour, false)
	must(err)
	server := &gosse.Server{
		Provider: &gosse.Joe{Replayer: replayer},
		OnSession: func(_ http.ResponseWriter, r *http.Request) ([]string, bool) {
			return []string{r.PathValue("channel")}, true
		},
	}
	return library{
		publish: func(channel string, e event) {
			message := &gosse.Message{ID: gosse.ID(e.ID)}
			if e.Event != "" {
				message.Type = gosse.Type(e.Event)
			}
			message.AppendData(e.Data)
			must(server.Publish(message, channel))
		},
		stream: func(_ string, w http.ResponseWriter, r *http.Request) { server.ServeHTTP(w, r) },
	}
}

// withMercure is a Mercure hub with its history on disk: ids are UUIDs, and "earliest" asks for everything.
func withMercure() library {
	folder, err := os.MkdirTemp("", "mercure")
	must(err)
	transport, err := mercure.NewBoltTransport(zap.NewNop(), filepath.Join(folder, "history"), "", 0, 0)
	must(err)
	hub, err := mercure.NewHub(
		mercure.WithAnonymous(), mercure.WithTransport(transport), mercure.WithLogger(zap.NewNop()),
		mercure.WithPublisherJWT([]byte("not used"), "HS256"), mercure.WithSubscriberJWT([]byte("not used"), "HS256"),
	)
	must(err)
	return library{
		publish: func(channel string, e event) {
			update := &mercure.Update{Topics: []string{channel}, Event: mercure.Event{Type: e.Event, Data: e.Data}}
			must(transport.Dispatch(update))
		},
		stream: func(channel string, w http.ResponseWriter, r *http.Request) {
			r.URL.RawQuery = url.Values{"topic": {channel}}.Encode()
			hub.SubscribeHandler(w, r)
		},
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	used := map[string]func() library{"r3labs": withR3labs, "go-sse": withGoSSE, "mercure": withMercure}[os.Args[1]]()
	http.HandleFunc("GET /channels/{channel}/events", func(w http.ResponseWriter, r *http.Request) {
		used.stream(r.PathValue("channel"), w, r)
	})
	http.HandleFunc("POST /channels/{channel}", func(w http.ResponseWriter, r *http.Request) {
		var events []event
		must(json.NewDecoder(r.Body).Decode(&events))
		for _, each := range events {
			used.publish(r.PathValue("channel"), each)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
