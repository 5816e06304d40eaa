# -*- coding: utf-8 -*-
from django.urls import path, re_path

from chat import notes, traps, views

try:
    from chat import rest
except ImportError:
    rest = None

NAMED = (
    'record', 'record_waiting', 'record_breaking', 'closed_by_itself',
    'polls_when_closed_by_itself', 'closed_in_a_loop', 'polls', 'polls_after_the_end',
    'time_outs', 'waits_for_ever', 'sends', 'sends_empty', 'sends_with_flag', 'sends_nonsense',
    'goes_on_sending', 'sends_first', 'both', 'where', 'raises_at_the_end', 'loads_at_the_end',
    'waits_too_often', 'watches_is_closed', 'waits_while_open', 'closed_by_the_peer', 'identity',
    'selects', 'selects_by_number', 'protocol_closes',
)
NAMELESS = (
    'echo', 'sends_chinese_bytes', 'sends_chinese_text', 'sends_no_text', 'exempt_outside',
    'exempt_inside', 'required', 'attributes', 'members', 'members_inside', 'raises', 'closes',
    'names', 'hidden',
)
TRAPS = (
    'sends_and_waits', 'sends_and_waits_a_moment', 'swallows_everything', 'swallows_after_closing',
    'pushes', 'pushes_without_pause', 'polls_until', 'stays_in_registry', 'compares_with_str', 'blocks', 'queries',
    'forget',
)

urlpatterns = [
    path('notes/<str:name>', notes.show_notes),
    path('open/<str:name>', notes.open_gate),
    path('forbidden/', views.echo),
    path('join/<str:room>/<str:user>', views.join),
    path('broadcast/<str:room>', views.broadcast),
    path('close/<str:room>/<str:user>', views.close_from_elsewhere),
    path('read/<str:room>/<str:user>', views.read_from_elsewhere),
    path('wait_in/<str:room>/<str:user>', views.wait_in),
    path('many_threads/<int:count>', views.many_threads),
    path('sends_large/<int:size>', views.sends_large),
    path('returns/<str:kind>', views.returns),
    path('returns_at_the_end/<str:kind>', views.returns_at_the_end),
    path('remembers/<str:colour>', views.remembers),
    re_path(r'^everything/(?P<year>[0-9]{4})/(?P<slug>[\w-]+)/$', views.everything),
    path('torrent/<str:name>/<int:count>/<int:size>', views.torrent),
    path('class', views.ClassView.as_view()),
    path('class/get', views.GetView.as_view()),
    path('class/static', views.Holder.static),
    path('traps/polls_busily/<str:name>/<str:how>', traps.polls_busily),
    path('traps/what_is_left/<int:number>', traps.what_is_left),
    path('traps/stop', traps.stop_all),
    path('traps/process', traps.process),
    path('traps/strict', traps.strict),
    path('traps/databases', traps.open_databases),
]
urlpatterns += [path('%s/<str:name>' % name, getattr(views, name)) for name in NAMED]
urlpatterns += [path(name, getattr(views, name)) for name in NAMELESS]
urlpatterns += [path('traps/%s/<str:name>' % name, getattr(traps, name)) for name in TRAPS]

if rest is not None:
    urlpatterns += [
        path('rest/inside/<str:name>', rest.Inside.as_view()),
        path('rest/outside/<str:name>', rest.Outside.as_view()),
        path('rest/function/<str:name>', rest.function),
    ]
