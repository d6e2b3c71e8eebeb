//! Routes on the wire.

use super::*;

fn route(tunnel: &str, destination: &str) -> Value {
    json!({
        "DestinationCidrBlock": destination,
        "InstanceType": "VPNCONN",
        "InstanceId": tunnel,
        "Priority": 100,
        "Status": "DISABLE",
    })
}

#[test]
fn routes_are_made_changed_listed_and_removed_in_the_fields_of_the_sdk() {
    let world = World::new();
    let [gateway, _, tunnel] = world.quick_start();
    let body = |field: &str, value: Value| json!({ "VpnGatewayId": gateway, field: value });
    let mut described = route(&tunnel, "10.0.1.128/25");
    described["Description"] = json!("spare");
    let wanted = json!([route(&tunnel, "10.0.1.9/25"), described]);
    let made = world.call("CreateVpnGatewayRoutes", &body("Routes", wanted));
    let first = &made["Routes"][0];
    let id = first["RouteId"].as_str().unwrap();
    assert_eq!(
        *first,
        json!({
            "DestinationCidrBlock": "10.0.1.0/25", "InstanceType": "VPNCONN", "InstanceId": tunnel, "Priority": 100,
            "Status": "DISABLE", "RouteId": id, "Type": "Static", "CreateTime": "2020-09-13 20:26:40",
            "UpdateTime": "2020-09-13 20:26:40", "Description": "",
        })
    );
    let change = json!([{ "RouteId": id, "Status": "ENABLE" }]);
    let changed = world.call("ModifyVpnGatewayRoutes", &body("Routes", change));
    assert_eq!(changed["Routes"][0]["Status"], "ENABLE");

    for (filters, offset, total, ids) in [
        (json!([]), 0, 2, &["10.0.1.0/25", "10.0.1.128/25"][..]),
        (json!([]), 1, 2, &["10.0.1.128/25"]),
        (
            json!([{ "Name": "DestinationCidr", "Values": ["10.0.1.128/25"] }]),
            0,
            1,
            &["10.0.1.128/25"],
        ),
        (
            json!([{ "Name": "InstanceId", "Values": ["vpnx-none"] }]),
            0,
            0,
            &[],
        ),
        (
            json!([{ "Name": "InstanceType", "Values": ["VPNCONN"] }]),
            0,
            2,
            &["10.0.1.0/25", "10.0.1.128/25"],
        ),
    ] {
        let ask = json!({ "VpnGatewayId": gateway, "Filters": filters, "Offset": offset });
        let listed = world.call("DescribeVpnGatewayRoutes", &ask);
        let found: Vec<_> = listed["Routes"].as_array().unwrap().iter().collect();
        let found: Vec<_> = found
            .iter()
            .map(|route| route["DestinationCidrBlock"].as_str().unwrap())
            .collect();
        assert_eq!(
            (&listed["TotalCount"], &found[..]),
            (&json!(total), ids),
            "{filters}"
        );
    }

    world.call("DeleteVpnGatewayRoutes", &body("RouteIds", json!([id])));
    let listed = world.call("DescribeVpnGatewayRoutes", &json!({ "VpnGatewayId": gateway }));
    assert_eq!(listed["TotalCount"], 1);
    // An answer can be sent back.
    let again = world.call("CreateVpnGatewayRoutes", &body("Routes", json!([first])));
    assert_ne!(again["Routes"][0]["RouteId"], *id);
}

#[test]
fn refusals_of_routes_have_the_documented_codes() {
    let world = World::new();
    let [gateway, _, tunnel] = world.quick_start();
    let create = |route: Value| json!({ "VpnGatewayId": gateway, "Routes": [route] });
    let with = |field: &str, value: Value| {
        let mut route = route(&tunnel, "10.0.1.0/25");
        route[field] = value;
        create(route)
    };
    world.call("CreateVpnGatewayRoutes", &create(route(&tunnel, "10.0.1.0/24")));
    for (action, body, code, part) in [
        (
            "CreateVpnGatewayRoutes",
            create(route(&tunnel, "10.0.0.0/16")),
            "InvalidParameterValue.VpnGatewayRouteDuplicate",
            "leads to 10.0.1.0/24",
        ),
        (
            "CreateVpnGatewayRoutes",
            create(route(&tunnel, "10.9.0.0/24")),
            "InvalidParameterValue",
            "meets a peer range",
        ),
        (
            "CreateVpnGatewayRoutes",
            create(route("vpnx-none", "10.0.1.0/24")),
            "InvalidVpnConnectionId.NotFound",
            "vpnx-none",
        ),
        (
            "CreateVpnGatewayRoutes",
            json!({ "VpnGatewayId": "vpngw-none", "Routes": [route(&tunnel, "10.0.1.0/24")] }),
            "InvalidVpnGatewayId.NotFound",
            "vpngw-none",
        ),
        (
            "CreateVpnGatewayRoutes",
            with("InstanceType", json!("CCN")),
            "InvalidParameterValue",
            "is VPNCONN",
        ),
        (
            "CreateVpnGatewayRoutes",
            with("Status", json!("ON")),
            "InvalidParameterValue",
            "is ENABLE or DISABLE",
        ),
        (
            "CreateVpnGatewayRoutes",
            with("Priority", json!(7)),
            "InvalidParameterValue",
            "is 0 or 100",
        ),
        (
            "CreateVpnGatewayRoutes",
            with("DestinationCidrBlock", json!("10.0.1.0/33")),
            "InvalidParameterValue",
            "DestinationCidrBlock is an IPv4 range",
        ),
        (
            "CreateVpnGatewayRoutes",
            with("NextHop", json!("x")),
            "UnknownParameter",
            "NextHop",
        ),
        (
            "CreateVpnGatewayRoutes",
            json!({ "VpnGatewayId": gateway, "Routes": [] }),
            "InvalidParameterValue",
            "1 to 100",
        ),
        (
            "ModifyVpnGatewayRoutes",
            json!({ "VpnGatewayId": gateway, "Routes": [{ "RouteId": "vpnr-none", "Status": "ENABLE" }] }),
            "ResourceNotFound",
            "no route has the id \"vpnr-none\"",
        ),
        (
            "DeleteVpnGatewayRoutes",
            json!({ "VpnGatewayId": gateway, "RouteIds": vec!["x"; 101] }),
            "InvalidParameterValue",
            "1 to 100",
        ),
        (
            "DescribeVpnGatewayRoutes",
            json!({ "VpnGatewayId": gateway, "Filters": [{ "Name": "Color", "Values": ["red"] }] }),
            "InvalidParameterValue",
            "Color",
        ),
    ] {
        world.refused(action, &body, code, part);
    }
    let mut site = Site::clone(&world.management.site());
    site.quotas.routes_per_gateway = 1;
    world.management.set_site(site);
    world.refused(
        "CreateVpnGatewayRoutes",
        &create(route(&tunnel, "10.0.1.0/25")),
        "LimitExceeded.VpnGatewayRoutesLimitExceeded",
        "at most 1 routes per VPN gateway",
    );
}
