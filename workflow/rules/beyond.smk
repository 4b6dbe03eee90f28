# What explanations are good for, and whether they can be trusted: their own target, 'beyond'. Each system is a rule for
# its recipes and a rule for the table that compares them; which tables end the target stands in wsss.workflow.chain.


use rule classifier as audit with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        classifier=stage.reads("classifier"),
        segmenter=stage.reads("segmenter"),
    output:
        stage.artefact("audit"),


use rule index as audits with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        audits=stage.reads("audits"),
    output:
        f"{BASE}/{{folder,audits}}/manifest.json",
        report(
            f"{BASE}/{{folder}}/audits.md",
            caption="../report/audits.rst",
            category="Results",
        ),
        f"{BASE}/{{folder}}/audits.csv",


use rule classifier as memory with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        segmenter=stage.reads("segmenter"),
        previous=stage.reads("previous"),
        cams=stage.reads("cams"),
    output:
        stage.artefact("memory"),


use rule index as continual with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        segmenters=stage.reads("segmenters"),
        predictions=stage.reads("predictions"),
        memories=stage.reads("memories"),
    output:
        f"{BASE}/{{folder,continual}}/manifest.json",
        report(
            f"{BASE}/{{folder}}/continual.md",
            caption="../report/continual.rst",
            category="Results",
        ),
        f"{BASE}/{{folder}}/continual.csv",


use rule classifier as search with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        teacher=stage.reads("teacher"),
    output:
        stage.artefact("search"),


use rule index as searches with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        searches=stage.reads("searches"),
        segmenters=stage.reads("segmenters"),
        scores=stage.reads("scores"),
    output:
        f"{BASE}/{{folder,searches}}/manifest.json",
        report(
            f"{BASE}/{{folder}}/searches.md",
            caption="../report/searches.rst",
            category="Results",
        ),
        f"{BASE}/{{folder}}/searches.csv",
